//! Validation of a policy.

use crate::{
    HealthPolicy, TABLE, Value,
    duration::{EXAMPLES, file_text},
};
use std::time::Duration;

/// Maximum value of a duration.
const MAX: Duration = Duration::from_hours(365 * 24);

/// A setting that the policy cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {why}")]
pub struct PolicyError {
    /// The key of the setting in the configuration file.
    pub key: String,
    /// The problem and its remedy.
    pub why: String,
}

impl HealthPolicy {
    /// Refuses values without a meaning, and values that contradict each other.
    pub fn validate(&self) -> Result<(), PolicyError> {
        for setting in self.settings() {
            let why = match setting.value {
                Value::Duration(duration) if duration.as_millis() == 0 => {
                    format!("must be 1ms at least; write for example {EXAMPLES}")
                }
                Value::Duration(duration) if duration > MAX => {
                    format!("must be {} at most", file_text(MAX))
                }
                Value::Count(0) => "must be 1 at least".to_owned(),
                Value::Group | Value::Duration(_) | Value::Count(_) => continue,
            };
            return Err(PolicyError {
                key: format!("{TABLE}.{}", setting.key),
                why,
            });
        }
        self.contradiction().map_or(Ok(()), Err)
    }

    /// The first setting that contradicts another one.
    fn contradiction(&self) -> Option<PolicyError> {
        let (assessment, repair, fabric) = (&self.assessment, &self.repair, &self.fabric);
        let at_least = [
            (
                ("health.assessment.full_pass_late", assessment.full_pass_late),
                (
                    "health.assessment.full_pass_interval",
                    assessment.full_pass_interval,
                ),
                "otherwise `status` reports every full pass as late",
            ),
            (
                ("health.assessment.evidence_max_age", assessment.evidence_max_age),
                (
                    "health.assessment.record_interval + health.assessment.probe_interval",
                    assessment.record_interval + assessment.probe_interval,
                ),
                "otherwise healthy clusters are not offered between two records",
            ),
            (
                ("health.repair.degraded_reset", repair.degraded_reset),
                ("health.repair.broken_confirm", repair.broken_confirm),
                "otherwise a broken cluster is reset before it is confirmed",
            ),
            (
                ("health.repair.broken_reset", repair.broken_reset),
                ("health.repair.broken_confirm", repair.broken_confirm),
                "otherwise a broken cluster is reset before it is confirmed",
            ),
            (
                ("health.repair.degraded_reset", repair.degraded_reset),
                ("health.repair.broken_reset", repair.broken_reset),
                "a broken cluster does not get more time than a degraded one",
            ),
            (
                ("health.repair.backoff.max", repair.backoff.max),
                ("health.repair.backoff.initial", repair.backoff.initial),
                "the interval only grows",
            ),
            (
                ("health.fabric.update", fabric.update),
                ("health.fabric.update_ordering", fabric.update_ordering),
                "otherwise an update is never submitted again",
            ),
        ];
        let ((key, value), (other, minimum), why) = at_least
            .into_iter()
            .find(|((_, value), (_, minimum), _)| value < minimum)?;
        Some(PolicyError {
            key: key.to_owned(),
            why: format!(
                "{} is less than {other}, which is {}; raise {key} or lower {other}: {why}",
                file_text(value),
                file_text(minimum)
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let policy: HealthPolicy = toml::from_str(text).unwrap();
        policy.validate().unwrap_err().to_string()
    }

    #[test]
    fn the_default_policy_is_valid() {
        assert_eq!(HealthPolicy::default().validate(), Ok(()));
    }

    #[test]
    fn zeros_and_enormous_durations_are_refused() {
        assert_eq!(
            error("repair.broken_confirm = \"0s\""),
            "health.repair.broken_confirm: must be 1ms at least; write for example \"500ms\", \"2s\" or \"5m\""
        );
        assert_eq!(
            error("crash_loop.max_exits = 0"),
            "health.crash_loop.max_exits: must be 1 at least"
        );
        assert_eq!(
            error("host.settle = \"9000h\""),
            "health.host.settle: must be 8760h at most"
        );
    }

    #[test]
    fn contradictions_are_refused_with_both_keys() {
        assert_eq!(
            error("repair.backoff.max = \"1s\""),
            "health.repair.backoff.max: 1s is less than health.repair.backoff.initial, which is 5s; raise \
             health.repair.backoff.max or \
             lower health.repair.backoff.initial: the interval only grows"
        );
        for (text, key) in [
            ("repair.broken_confirm = \"6s\"", "health.repair.broken_reset: "),
            ("repair.broken_confirm = \"1m\"", "health.repair.degraded_reset: "),
            ("repair.broken_reset = \"30s\"", "health.repair.degraded_reset: "),
            (
                "assessment.evidence_max_age = \"10s\"",
                "health.assessment.evidence_max_age: ",
            ),
            (
                "assessment.full_pass_late = \"20s\"",
                "health.assessment.full_pass_late: ",
            ),
            ("fabric.update = \"1s\"", "health.fabric.update: "),
        ] {
            let error = error(text);
            assert!(error.starts_with(key), "{text}: {error}");
        }
    }
}
