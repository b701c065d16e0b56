//! Failures of a boot action.

use crate::{InitError, client::call::CallError};

/// Collects all errors.
pub(crate) fn all(done: impl IntoIterator<Item = Result<(), CallError>>) -> Result<(), InitError> {
    let errors: Vec<String> = done
        .into_iter()
        .filter_map(|done| done.err().map(|e| e.to_string()))
        .collect();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(InitError::new(errors.join("; ")))
    }
}
