//! Harness, integration tests, test beds.
