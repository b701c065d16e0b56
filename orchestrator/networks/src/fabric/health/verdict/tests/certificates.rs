//! Certificates that expire.

use super::*;

#[test]
fn certificates_that_expire_soon_are_reported_with_the_day() {
    let mut evidence = seen(&["ok"], &[&["ok"]]);
    let in_days = |days: i64| Some(NOW.plus_seconds(days * DAY_S));
    let assessed = |evidence: &Evidence, days: u32| {
        let parameters = Parameters {
            certificate_days: days,
            ..Parameters::default()
        };
        verdict(
            &parameters,
            evidence,
            &History::default(),
            &Fabric::default(),
            NOW,
        )
    };
    evidence.certificate_ends = in_days(30);
    assert_eq!(assessed(&evidence, 365).state, Healthy);
    evidence.certificate_ends = in_days(29);
    let reason =
        "a certificate of the network expires on 2026-12-17; still committing, no orderer failure tolerated";
    assert_eq!(
        assessed(&evidence, 365),
        Verdict {
            state: Degraded,
            reason: reason.to_owned()
        }
    );
    evidence
        .nodes
        .get_mut("orderer0")
        .expect("it is there")
        .certificate_ends = in_days(29);
    let reason =
        "the certificate of orderer0 expires on 2026-12-17; still committing, no orderer failure tolerated";
    assert_eq!(
        assessed(&evidence, 365),
        Verdict {
            state: Degraded,
            reason: reason.to_owned()
        }
    );
    // A certificate valid for a month is not reported from its first day on.
    assert_eq!(assessed(&evidence, 30).state, Healthy);
    evidence.certificate_ends = in_days(9);
    assert_eq!(assessed(&evidence, 30).state, Degraded);
}
