//! A promise, and its test.

use super::{fixture::Fixture, outcome::TestResult};
use futures::future::LocalBoxFuture;

/// A promise of an agent, and its test.
#[derive(Debug, Clone, Copy)]
pub struct Promise {
    /// Its short name, which selects it.
    pub name: &'static str,
    /// The promise in one sentence.
    pub description: &'static str,
    /// The test restarts the platform, so it runs alone.
    pub restarts: bool,
    pub(super) test: Test,
}

type Test = for<'a> fn(&'a Fixture<'a>) -> LocalBoxFuture<'a, TestResult>;

/// Names a promise and its test.
macro_rules! promise {
    ($name:literal, $test:path, $description:literal) => {
        $crate::kit::promise::Promise {
            name: $name,
            description: $description,
            restarts: false,
            test: |fixture| Box::pin($test(fixture)),
        }
    };
}
pub(crate) use promise;
