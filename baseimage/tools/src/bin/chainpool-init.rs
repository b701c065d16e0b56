//! `chainpool-init PROGRAM [ARGUMENT…]`: process 1 of our images. See [`chainpool_tools::init`].

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use chainpool_tools::init;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: chainpool-init PROGRAM [ARGUMENT…]");
        return ExitCode::from(2);
    };
    let arguments: Vec<OsString> = arguments.collect();
    match init::run(&program, &arguments).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("chainpool-init: {}: {error}", program.display());
            ExitCode::from(if error.kind() == io::ErrorKind::NotFound {
                init::NOT_FOUND
            } else {
                init::NOT_STARTED
            })
        }
    }
}
