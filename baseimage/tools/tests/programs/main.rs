//! The small programs of our images, run as they are.

mod init;
mod place;
mod probe;
