//! REST, dashboard, events, authentication.
