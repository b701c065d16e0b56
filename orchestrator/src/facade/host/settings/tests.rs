use super::*;

#[test]
fn settings_that_the_platform_does_not_support_are_refused() {
    let platform: api::Platform = "docker".parse().expect("a platform");
    let check =
        |supported: &[&str], kubeconfig, class| check_platform(&platform, supported, kubeconfig, class);
    assert!(check(&[], true, None).is_err() && check(&[], false, Some("fast")).is_err());
    assert!(check(&[], false, Some("")).is_ok());
    assert!(check(&["storage_class"], true, Some("fast")).is_err());
    assert!(check(&["kubeconfig", "storage_class"], true, Some("fast")).is_ok());
}
