//! Settings of hosts that an administrator chooses. A new setting is a field of [`HostSettings`] and of the patch, with
//! its validation, a field of the dashboard's form and an option of the command line; the compiler names each place.

mod patch;
mod settings;
mod validation;

pub(crate) use patch::setting_fields;
pub use patch::{FieldErrors, HostRegistry, HostSettingsPatch, HostTls};
pub use settings::{Fill, HostLog, HostSettings, LogLevel, LogType};
