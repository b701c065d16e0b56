//! The binary as scripts use it, against a server in the test's process that says what it was asked.

mod files;
mod first_minute;
mod full_disk;
mod offline;
mod profiles;
mod server;
mod tls;
mod verbs;
mod wait;
mod way;
