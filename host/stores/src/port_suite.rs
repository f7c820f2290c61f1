//! The promises of the ports, as functions.
