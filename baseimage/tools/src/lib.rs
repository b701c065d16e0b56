//! What the base image's two programs are made of: [`init`] runs a program as the first process of a container,
//! [`probe`] tells whether a service answers. They are static programs, so that they work in an image without a C library.

pub mod init;
pub mod probe;
