use super::*;
use proptest::prelude::*;

fn nodes(count: usize) -> Vec<NodeName> {
    (0..count)
        .map(|i| NodeName::parse(&format!("v{i}")).expect("a node name"))
        .collect()
}

fn subject(kind: OperationKind, count: usize) -> Subject {
    let boot = vec![Boot::Start(nodes(count))];
    Subject {
        kind,
        generation: 2,
        nodes: nodes(count),
        boot,
        arguments: Arguments::default(),
    }
}

#[test]
fn unreadable_arguments_are_an_error() {
    let read = |stored| Arguments::read(&stored).map(|arguments| arguments.node);
    let v1 = NodeName::parse("v1").expect("a node name");
    assert_eq!(
        read(serde_json::json!({"node": "v1"})).expect("arguments"),
        Some(v1)
    );
    assert_eq!(read(serde_json::json!({})).expect("arguments"), None);
    for unreadable in [
        serde_json::json!({"node": 1}),
        serde_json::json!({"nodes": ["v1"]}),
        serde_json::json!("v1"),
        serde_json::json!(null),
    ] {
        assert!(read(unreadable.clone()).is_err(), "{unreadable}");
    }
}

proptest! {
    #[test]
    fn planning_is_deterministic(kind in proptest::sample::select(OperationKind::ALL), count in 1usize..17) {
        let subject = subject(kind, count);
        prop_assert_eq!(plan(&subject), plan(&subject));
    }

    #[test]
    fn phases_are_in_order(kind in proptest::sample::select(OperationKind::ALL), count in 1usize..17) {
        let phases: Vec<u32> = plan(&subject(kind, count)).iter().map(|p| p.phase).collect();
        prop_assert!(phases.windows(2).all(|w| w[0] <= w[1]));
    }
}

#[test]
fn a_reset_removes_the_previous_generation_before_creating_the_next() {
    let steps = plan(&subject(OperationKind::ClusterReset, 4));
    assert_eq!(
        steps[0].action,
        Action::Drop {
            cluster: None,
            through: 2
        }
    );
    assert!(steps[1..].iter().all(|s| s.phase > 0));
    assert_eq!(steps.last().map(|s| &s.action), Some(&Action::Prove));
}

#[test]
fn each_boot_phase_waits_for_the_previous_one() {
    let [first, second] = [nodes(2), nodes(4).split_off(2)];
    let boot = vec![
        Boot::Start(first.clone()),
        Boot::Ready(first.clone()),
        Boot::Start(second),
    ];
    let steps = plan(&Subject {
        generation: 1,
        boot,
        ..subject(OperationKind::ClusterCreate, 4)
    });
    let place = |wanted: &Action| {
        steps
            .iter()
            .find(|s| s.action == *wanted)
            .map(|s| s.phase)
            .expect("it is planned")
    };
    let started = |name: &str| {
        place(&Action::Node {
            node: NodeName::parse(name).expect("a node name"),
            on: true,
        })
    };
    let answered = place(&Action::Answer { nodes: first });
    assert!(place(&Action::Network) < started("v0") && started("v1") < answered && answered < started("v2"));
    assert!(started("v3") < place(&Action::Prove));
}

#[test]
fn a_job_runs_in_its_phase_at_each_boot_only() {
    let job = NodeName::parse("setup").expect("a node name");
    let boot = vec![Boot::Job(job.clone()), Boot::Start(nodes(2))];
    let runs = Action::Job { job };
    for kind in OperationKind::ALL {
        let steps = plan(&Subject {
            boot: boot.clone(),
            ..subject(*kind, 2)
        });
        let place = |wanted: &Action| steps.iter().find(|s| s.action == *wanted).map(|s| s.phase);
        let boots = matches!(
            kind,
            OperationKind::ClusterCreate | OperationKind::ClusterReset | OperationKind::ClusterAmend
        );
        assert_eq!(place(&runs).is_some(), boots, "{kind}");
        if boots {
            let started = place(&Action::Node {
                node: nodes(1)[0].clone(),
                on: true,
            });
            assert!(
                place(&Action::Image) < place(&runs) && place(&runs) < started,
                "{steps:?}"
            );
        }
    }
    assert!(runs.changes_platform());
}

#[test]
fn no_node_starts_before_its_volumes_are_checked() {
    let start = Arguments {
        start: nodes(1),
        ..Arguments::default()
    };
    for (kind, arguments) in [
        (OperationKind::ClusterStart, Arguments::default()),
        (OperationKind::ClusterRepair, start),
    ] {
        let steps = plan(&Subject {
            arguments,
            ..subject(kind, 4)
        });
        let seen = steps
            .iter()
            .find(|s| s.action == Action::Volumes)
            .expect("it is planned")
            .phase;
        assert!(
            steps
                .iter()
                .filter(|s| s.action != Action::Volumes)
                .all(|s| s.phase > seen),
            "{steps:?}"
        );
    }
}

#[test]
fn a_single_node_can_be_restarted() {
    let mut subject = subject(OperationKind::ClusterRestart, 4);
    subject.arguments.node = Some(nodes(3)[2].clone());
    let steps = plan(&subject);
    assert_eq!(steps.len(), 2);
    assert_eq!(
        steps[0].action,
        Action::Restart {
            node: nodes(3)[2].clone()
        }
    );
}
