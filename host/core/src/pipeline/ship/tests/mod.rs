//! The loops on small fakes: every answer that a bulk call can give, all subsets of them, and long random lives.

mod answers;
mod fakes;
mod lives;
