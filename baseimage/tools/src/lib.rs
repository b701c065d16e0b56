//! Library of the programs in our images: [`init`] runs a program under process 1 of a container, [`probe`]
//! checks that a service responds, [`place`] puts files into volumes and [`wipe`] empties them. The programs
//! are static, so that they work in an image without a C library.

pub mod init;
pub mod place;
pub mod probe;
pub mod wipe;
