//! An agent beside a real server: each connection is told the line of a file, and ended.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::Failure;

pub fn run(addr: &str, file: PathBuf) -> Result<ExitCode, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind(addr).await?;
        let file = Arc::new(file);
        loop {
            let (mut stream, _) = listener.accept().await?;
            let file = Arc::clone(&file);
            // An error is the client gone, which is its right.
            tokio::spawn(async move {
                let line = std::fs::read(&*file)?;
                stream.write_all(&line).await?;
                stream.shutdown().await
            });
        }
    })
}
