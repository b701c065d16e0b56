//! The conformance kit: the promises of [`Agent`](crate::Agent), each as a test for any agent.
//!
//! The kit judges an agent by what its nodes observe and print, so beside the agent it needs little of a
//! platform: a [`TestPlatform`]. Nodes run small programs ([`program::Step`]) in busybox's shell and report
//! through `logs` or a port. What a platform cannot do comes from its [`Capabilities`](crate::Capabilities)
//! or [`TestPlatform::exempt`], never by its kind. Each promise has its own instance, so several run at once.
//! Each ends by dropping its clusters and with a leak check: nothing of ours is left, no foreign object was
//! touched.
//!
//! ```no_run
//! # async fn test(platform: &dyn chainpool_agent::kit::TestPlatform) -> std::process::ExitCode {
//! use chainpool_agent::kit;
//! let report = kit::run(platform, &kit::promises()).await;
//! report.finish()
//! # }
//! ```

mod capabilities;
mod drift;
mod files;
mod fixture;
mod foreign;
mod images;
mod instances;
mod jobs;
mod limits;
mod logs;
mod lossy;
mod network;
mod nodes;
mod observe;
mod outcome;
mod ports;
mod power;
pub mod program;
mod promise;
mod readiness;
mod repeat;
mod run;
pub mod table;
mod test_platform;
mod volumes;
mod watch;

pub use lossy::Lossy;
pub use outcome::{Outcome, Report};
pub use promise::Promise;
pub use run::{run, selected};
pub use test_platform::{Foreign, Interference, TestPlatform, TestPlatformError, TestPlatformResult};

/// All promises, in the order of the table.
pub fn promises() -> Vec<Promise> {
    [
        images::PROMISES,
        nodes::PROMISES,
        power::PROMISES,
        files::PROMISES,
        volumes::PROMISES,
        readiness::PROMISES,
        drift::PROMISES,
        network::PROMISES,
        ports::PROMISES,
        limits::PROMISES,
        jobs::PROMISES,
        logs::PROMISES,
        watch::PROMISES,
        observe::PROMISES,
        foreign::PROMISES,
        instances::PROMISES,
        capabilities::PROMISES,
        repeat::PROMISES,
    ]
    .concat()
}
