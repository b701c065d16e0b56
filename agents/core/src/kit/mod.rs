//! The conformance kit: the promises of [`Agent`](crate::Agent), each as a test that any agent can be put to.
//!
//! An agent is judged by what its nodes see and say, so the kit needs little of a platform beside the agent: a
//! [`Ground`]. Nodes run small programs ([`program::Step`]) in busybox's shell and tell what they find through `logs` or a
//! port; what a platform cannot do comes through its [`Capabilities`](crate::Capabilities) or [`Ground::exempt`], never
//! by its kind. Each promise has an instance of its own, so several run at once; each ends by dropping its clusters and
//! with a census that finds nothing of ours left and nothing foreign touched.
//!
//! ```no_run
//! # async fn test(ground: &dyn chainpool_agent::kit::Ground) -> std::process::ExitCode {
//! use chainpool_agent::kit;
//! let report = kit::run(ground, &kit::promises()).await;
//! report.finish()
//! # }
//! ```

mod capabilities;
mod drift;
mod files;
mod foreign;
mod ground;
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
mod repeat;
mod run;
mod stand;
pub mod table;
mod volumes;
mod watch;

pub use ground::{Foreign, Ground, GroundError, GroundResult, Meddling};
pub use lossy::Lossy;
pub use outcome::{Outcome, Report};
pub use run::{asked_for, run};

use futures::future::LocalBoxFuture;
use outcome::Stop;
use stand::Stand;

/// What an agent promises, and how to find out.
#[derive(Debug, Clone, Copy)]
pub struct Promise {
    /// Its short name, by which it is asked for.
    pub name: &'static str,
    /// What is promised, in one sentence.
    pub says: &'static str,
    /// Whether the platform is restarted meanwhile, so that nothing else can run beside it.
    pub restarts: bool,
    test: Test,
}

type Kept<T = ()> = Result<T, Stop>;
type Test = for<'a> fn(&'a Stand<'a>) -> LocalBoxFuture<'a, Kept>;

/// Names a promise and its test.
macro_rules! promise {
    ($name:literal, $test:path, $says:literal) => {
        $crate::kit::Promise {
            name: $name,
            says: $says,
            restarts: false,
            test: |stand| Box::pin($test(stand)),
        }
    };
}
pub(crate) use promise;

/// Ends a test as failed, with these words, unless the condition holds.
macro_rules! promised {
    ($condition:expr, $($words:tt)+) => {
        if !$condition {
            return Err($crate::kit::outcome::Stop::Failed(format!($($words)+)));
        }
    };
}
pub(crate) use promised;

/// All promises, in the order of the table.
pub fn promises() -> Vec<Promise> {
    [
        images::PROMISES,
        nodes::PROMISES,
        power::PROMISES,
        files::PROMISES,
        volumes::PROMISES,
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
