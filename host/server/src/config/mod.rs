//! One TOML file and the environment -> [`Config`]. Every key has a default; an unknown key is an error; every mistake is
//! reported with its place and a remedy.

mod check;
mod ignored;
pub mod keys;
mod load;
mod model;
mod problem;
mod publishers;
pub mod reference;
#[cfg(test)]
mod tests;
pub mod types;

pub use ignored::ignored_variables;
pub use load::{ENVIRONMENT_PREFIX, from_text, load};
pub use model::{
    AlertmanagerDoor, Alerts, Config, Data, Doors, Elasticsearch, EventsDoor, Limits, Log, Mysql, Pipeline, Publisher, Redis, Retention, Rules, Server, Source,
    Table,
};
pub use problem::{Place, Problem, Problems, nearest};
