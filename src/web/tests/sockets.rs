use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn the_unix_socket_is_its_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run/lvs-agent/control.sock");
    let listener = bind_unix(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o755);

    // Live: refused by name, and untouched.
    let error = bind_unix(&path).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    assert!(path.exists());

    // Stale: replaced.
    drop(listener);
    assert!(path.exists());
    let listener = bind_unix(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    let connected = UnixStream::connect(&path).await;
    assert!(connected.is_ok());
    drop(listener);
}

#[tokio::test]
async fn what_is_no_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    fs::write(&path, "precious").unwrap();
    let error = bind_unix(&path).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert!(error.to_string().contains("is no socket"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");

    let under_a_file = path.join("control.sock");
    let error = bind_unix(&under_a_file).unwrap_err();
    assert!(error.to_string().contains("creating the directory"), "{error}");

    let long = dir.path().join("x".repeat(200));
    let error = bind_unix(&long).unwrap_err();
    assert!(error.to_string().starts_with(&format!("listening on {}", long.display())), "{error}");
}

#[tokio::test]
async fn the_socket_goes_with_its_server_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let serve = |path: &Path| {
        let web = Web::new(
            Options::default(),
            agent_showing(samples::plain(1)),
            Arc::new(FakeExposition::default()),
        );
        let (stop, stopping) = watch::channel(false);
        (tokio::spawn(serve_unix(bind_unix(path).unwrap(), web, stopping)), stop)
    };
    let (task, stop) = serve(&path);
    assert_eq!(ask_unix(&path, "GET", "/metrics", "").await.status, StatusCode::OK);
    stop.send(true).unwrap();
    soon("the server's end", task).await.unwrap().unwrap();
    assert!(!path.exists());

    let (task, stop) = serve(&path);
    assert_eq!(ask_unix(&path, "GET", "/-/healthy", "").await.status, StatusCode::OK);
    fs::remove_file(&path).unwrap();
    let other = bind_unix(&path).unwrap();
    stop.send(true).unwrap();
    soon("the server's end", task).await.unwrap().unwrap();
    assert!(path.exists(), "another agent's socket was removed");
    drop(other);
}

#[tokio::test]
async fn any_address_takes_ipv4_too() {
    let listener = bind_tcp("[::]:0".parse().unwrap()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (client, accepted) = tokio::join!(TcpStream::connect(("127.0.0.1", port)), listener.accept());
    assert_eq!(client.unwrap().local_addr().unwrap().port(), accepted.unwrap().1.port());
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let first = bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = first.local_addr().unwrap();
    let error = bind_tcp(addr).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().starts_with(&format!("listening on {addr}: ")), "{error}");
    // Connections of an earlier run in TIME_WAIT are no hindrance.
    let (client, accepted) = tokio::join!(TcpStream::connect(addr), first.accept());
    drop((accepted, first));
    drop(client);
    bind_tcp(addr).unwrap();
}
