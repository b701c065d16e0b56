//! Rules and faults on the platform in memory, independent of any engine and of other tests.

mod after_restart;
mod crash_loops;
mod faults;
mod jobs;
mod kills;
mod kinds;
mod leadership;
mod policy;
mod pool;
mod sections;
