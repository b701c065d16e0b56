//! Test harness: a complete Chainpool with a real store and a real router, on a real engine or on the
//! platform in memory, and a leak check at the end of each test.

mod api;
mod bed;
mod browser;
mod crash_point;
mod engine;
mod error_log;
mod installation;
mod instance_lock;
mod memory_bed;
mod recorded_pool;
mod recording_proxy;
mod resource_lock;
mod sample;
mod second_engine;
mod testbed;
mod wait;

pub use api::{Api, ApiError};
pub use bed::{Bed, Options, platforms};
pub use browser::Browser;
pub use crash_point::{CrashPoint, Side};
pub use engine::{CHAINCODE, Engine, Foreign};
pub use installation::Installation;
pub use memory_bed::{Ending, KillableBed, MemoryBed, MemoryFixture, MemoryOptions, key_of};
pub use recorded_pool::{RecordedLease, RecordedPool};
pub use recording_proxy::RecordingProxy;
pub use resource_lock::ResourceLock;
pub use sample::{Point, Points};
pub use second_engine::SecondEngine;
pub use testbed::{TOOLS, TestBed};
pub use wait::{within, within_ok};
