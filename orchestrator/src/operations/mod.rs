//! Changes: from an accepted request to its recorded outcome. Every change takes the same path: admission in
//! one transaction, plan, journaled steps, completion in one transaction.

pub(crate) mod admission;
pub(crate) mod amendment;
mod autofill;
pub(crate) mod cause;
mod completion;
mod deadline;
mod executor;
mod fillup;
mod generation;
pub(crate) mod health_history;
mod outcome;
pub(crate) mod plan;
mod relocation;
mod render;
pub(crate) mod render_limit;
pub(crate) mod running;
mod stalled_nodes;
mod step;
mod step_context;
mod step_deadline;
mod step_error;
mod supersede;
pub(crate) mod volumes;
