//! Rules and faults on the platform in memory: no engine, and no other test, has a part in them.

mod faults;
mod kills;
mod pool;
mod views;
