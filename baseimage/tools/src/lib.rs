//! What the small programs of our images are made of: [`init`] runs a program as the first process of a container, [`probe`] tells
//! whether a service answers, [`place`] puts files into volumes and [`wipe`] empties them. They are static programs, so that they
//! work in an image without a C library.

pub mod init;
pub mod place;
pub mod probe;
pub mod wipe;
