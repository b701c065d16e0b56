//! The harness: a whole Chainpool on a real engine, with a real store, a real router and a census at the end.

mod api;
mod bed;
mod browser;
mod census;
mod claim;
mod engine;
mod ground;
mod second_engine;
mod tap;
mod testbed;
mod wait;

pub use api::{Api, Refused};
pub use bed::{Bed, Options, platforms};
pub use browser::Browser;
pub use census::{errors_logged, log_to_census};
pub use engine::{CHAINCODE, Engine, Foreign};
pub use ground::Ground;
pub use second_engine::SecondEngine;
pub use tap::Tap;
pub use testbed::{TOOLS, TestBed};
pub use wait::{within, within_ok};
