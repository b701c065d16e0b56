//! The harness: a whole Chainpool on a real engine, with a real store, a real router and a census at the end.

mod api;
mod bed;
mod browser;
mod census;
mod claim;
mod crash_point;
mod engine;
mod ground;
mod installation;
mod memory_bed;
mod recorded_pool;
mod sample;
mod second_engine;
mod tap;
mod testbed;
mod wait;

pub use api::{Api, Refused};
pub use bed::{Bed, Options, platforms};
pub use browser::Browser;
pub use crash_point::{CrashPoint, Side};
pub use engine::{CHAINCODE, Engine, Foreign};
pub use ground::Ground;
pub use installation::Installation;
pub use memory_bed::{Ending, Life, MemoryBed, MemoryFixture, MemoryOptions, key_of};
pub use recorded_pool::{RecordedLease, RecordedPool};
pub use sample::{Point, Points};
pub use second_engine::SecondEngine;
pub use tap::Tap;
pub use testbed::{TOOLS, TestBed};
pub use wait::{within, within_ok};
