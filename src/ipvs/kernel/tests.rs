use super::*;
use crate::ipvs::abi;
use crate::ipvs::fake::{Event, FakeKernel};
use crate::ipvs::fixtures::RICH_SAVE;

const TWO: &str = "-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.0.0.11:80\n-a -t 10.0.0.1:80 -r 10.0.0.12:80\n\
                   -A -t 10.0.0.2:80 -s rr\n-a -t 10.0.0.2:80 -r 10.0.0.11:80\n";

fn rows(snapshot: &Snapshot) -> Vec<VirtualServer> {
    snapshot.services.iter().map(|s| (**s).clone()).collect()
}

fn keys(snapshot: &Snapshot) -> Vec<String> {
    let of = |s: &Arc<VirtualServer>| format!("{} {}", s.key, s.destinations.len());
    snapshot.services.iter().map(of).collect()
}

/// Dumps found inconsistent, and dumps repeated.
fn doubts(telemetry: &SharedTelemetry) -> (u64, u64) {
    let telemetry = telemetry.lock();
    (telemetry.dumps_interrupted, telemetry.dumps_retried)
}

fn edit(change: impl FnOnce(&mut crate::ipvs::fake::State) + Send + 'static) -> Event {
    Event::Edit(Box::new(change))
}

#[tokio::test]
async fn a_whole_table_is_read_with_one_dump_a_service() {
    let kernel = FakeKernel::new(RICH_SAVE);
    let (mut table, telemetry) = kernel.table();
    let read = table.snapshot().await.unwrap();
    assert_eq!(rows(&read), kernel.rows());
    assert_eq!(read.source, TableSource::Netlink);
    assert_eq!(read.timeouts, Some(Timeouts { tcp: 900, tcp_fin: 900, udp: 900 }));
    assert_eq!(read.totals.unwrap().connections, 5);
    assert_eq!(read.sysctls, [("run_estimation", 1)]);

    let again = table.snapshot().await.unwrap();
    assert_eq!(rows(&again), rows(&read));
    let telemetry = telemetry.lock();
    assert_eq!(telemetry.requests["get_dest"], 20);
    // At first two dumps instead of one; then two services without destinations, each time asked for.
    assert_eq!(telemetry.requests["get_service"], 3 + 4);
    assert_eq!(telemetry.durations["get_dest"].count, 20);
    assert_eq!(telemetry.durations["get_service"].count, 7);
    assert!(telemetry.errors.is_empty(), "{:?}", telemetry.errors);
    assert_eq!((telemetry.dumps_interrupted, telemetry.dumps_retried), (0, 0));
    assert_eq!(kernel.state().opened, 1, "one socket");
}

#[tokio::test]
async fn one_absence_of_a_service_is_not_a_deletion() {
    let kernel = FakeKernel::new(TWO);
    let (mut table, telemetry) = kernel.table();
    let first = table.snapshot().await.unwrap();
    kernel.script(abi::GET_SERVICE, Event::Hide(vec!["10.0.0.2:80/tcp"]));
    let second = table.snapshot().await.unwrap();
    assert!(kernel.script_is_over());
    assert_eq!(rows(&second), rows(&first));
    assert_eq!(telemetry.lock().dumps_interrupted, 1);

    kernel.state().services.remove(1);
    assert_eq!(keys(&table.snapshot().await.unwrap()), ["10.0.0.1:80/tcp 2"], "a deletion is one");
    assert_eq!(telemetry.lock().errors[&("get_service", "ESRCH".to_owned())], 1);
}

#[tokio::test]
async fn the_first_read_does_not_rest_on_one_dump_either() {
    let kernel = FakeKernel::new(TWO);
    let (mut table, _) = kernel.table();
    kernel.script(abi::GET_SERVICE, edit(|_| {}));
    kernel.script(abi::GET_SERVICE, Event::Hide(vec!["10.0.0.1:80/tcp"]));
    let read = table.snapshot().await.unwrap();
    assert!(kernel.script_is_over());
    assert_eq!(keys(&read), ["10.0.0.1:80/tcp 2", "10.0.0.2:80/tcp 1"]);
}

#[tokio::test]
async fn one_absence_of_a_destination_is_not_a_deletion() {
    let kernel = FakeKernel::new(TWO);
    let (mut table, telemetry) = kernel.table();
    table.snapshot().await.unwrap();
    kernel.script(abi::GET_DEST, Event::Hide(vec!["10.0.0.12:80"]));
    assert_eq!(keys(&table.snapshot().await.unwrap())[0], "10.0.0.1:80/tcp 2");
    assert_eq!(doubts(&telemetry), (1, 1));

    kernel.state().services[0].destinations.pop();
    assert_eq!(keys(&table.snapshot().await.unwrap())[0], "10.0.0.1:80/tcp 1");
    assert_eq!(doubts(&telemetry), (1, 2));
    assert_eq!(keys(&table.snapshot().await.unwrap())[0], "10.0.0.1:80/tcp 1");
    assert_eq!(telemetry.lock().dumps_retried, 2, "asked for once");
}

#[tokio::test]
async fn a_service_deleted_in_the_middle_of_its_dump_is_gone_not_smaller() {
    let kernel = FakeKernel::new(TWO);
    let (mut table, _) = kernel.table();
    table.snapshot().await.unwrap();
    // The first dump ends early as a success; by the second one the service is gone.
    kernel.script(abi::GET_DEST, Event::Hide(vec!["10.0.0.12:80"]));
    kernel.script(
        abi::GET_DEST,
        edit(|state| {
            state.services.remove(0);
        }),
    );
    let read = table.snapshot().await.unwrap();
    assert!(kernel.script_is_over());
    assert_eq!(keys(&read), ["10.0.0.2:80/tcp 1"]);
}

#[tokio::test]
async fn an_empty_service_is_told_from_a_missing_one() {
    let kernel = FakeKernel::new("-A -t 10.0.0.1:80 -s rr\n-A -t 10.0.0.2:80 -s rr\n");
    let (mut table, _) = kernel.table();
    kernel.script(
        abi::GET_DEST,
        edit(|state| {
            state.services.remove(0);
        }),
    );
    assert_eq!(keys(&table.snapshot().await.unwrap()), ["10.0.0.2:80/tcp 0"]);
}

#[tokio::test]
async fn an_interrupted_dump_is_made_again_and_then_is_an_error() {
    let kernel = FakeKernel::new(TWO);
    let (mut table, telemetry) = kernel.table();
    table.snapshot().await.unwrap();
    kernel.script(abi::GET_DEST, Event::Interrupt);
    assert_eq!(keys(&table.snapshot().await.unwrap()).len(), 2);
    assert_eq!(doubts(&telemetry), (1, 1));
    for _ in 0..9 {
        kernel.script(abi::GET_DEST, Event::Interrupt);
    }
    let failure = table.snapshot().await.unwrap_err();
    assert!(failure.to_string().contains("get_dest"), "{failure}");
    assert!(kernel.script_is_over());
    assert_eq!(kernel.state().opened, 1, "the socket is still good");
    table.snapshot().await.unwrap();
}

#[tokio::test]
async fn after_an_overrun_garbage_or_a_busy_socket_the_read_begins_anew_on_another() {
    for event in [Event::Overrun, Event::Garbage, Event::Refuse(Errno::EBUSY)] {
        let kernel = FakeKernel::new(TWO);
        let (mut table, telemetry) = kernel.table();
        kernel.script(abi::GET_DEST, event);
        assert_eq!(keys(&table.snapshot().await.unwrap()), ["10.0.0.1:80/tcp 2", "10.0.0.2:80/tcp 1"]);
        assert!(kernel.script_is_over());
        assert_eq!(kernel.state().opened, 2);
        assert_eq!(telemetry.lock().dumps_retried, 1);
    }
}

#[tokio::test]
async fn an_overrun_is_counted() {
    let kernel = FakeKernel::new(TWO);
    let (mut table, telemetry) = kernel.table();
    kernel.script(abi::GET_SERVICE, Event::Overrun);
    table.snapshot().await.unwrap();
    assert_eq!(telemetry.lock().overruns, 1);
    assert_eq!(telemetry.lock().errors[&("get_service", "ENOBUFS".to_owned())], 1);
}

#[tokio::test(start_paused = true)]
async fn silence_ends_at_the_deadline() {
    let kernel = FakeKernel::new(TWO);
    let (mut table, telemetry) = kernel.table();
    kernel.script(abi::GET_DEST, Event::Silence);
    let failure = table.snapshot().await.unwrap_err();
    assert_eq!(failure, ReadFailure::Failed("get_dest: no answer within 5s".to_owned()));
    assert_eq!(telemetry.lock().errors[&("get_dest", "ETIMEDOUT".to_owned())], 1);
    assert_eq!(keys(&table.snapshot().await.unwrap()).len(), 2);
    assert_eq!(kernel.state().opened, 2);
}

#[tokio::test]
async fn answers_to_others_are_not_ours() {
    let kernel = FakeKernel::new(TWO);
    let (mut table, _) = kernel.table();
    for command in [abi::GET_FAMILY, abi::GET_INFO, abi::GET_SERVICE, abi::GET_DEST] {
        kernel.script(command, Event::Strays);
    }
    assert_eq!(keys(&table.snapshot().await.unwrap()).len(), 2);
    assert!(kernel.script_is_over());
    assert_eq!(kernel.state().opened, 1);
}

#[tokio::test]
async fn no_ipvs_is_found_out_without_a_request_and_ends_by_itself() {
    let kernel = FakeKernel::new(TWO);
    let (mut table, _) = kernel.table();
    kernel.state().loaded = false;
    assert_eq!(table.snapshot().await, Err(ReadFailure::NoIpvs));
    assert_eq!(kernel.state().opened, 0);
    assert!(kernel.state().log.is_empty());
    kernel.state().loaded = true;
    assert_eq!(keys(&table.snapshot().await.unwrap()).len(), 2);
    // Unloaded in the middle of a read.
    kernel.script(abi::GET_DEST, edit(|state| state.loaded = false));
    assert_eq!(table.snapshot().await, Err(ReadFailure::NoIpvs));
}

#[tokio::test]
async fn a_module_loaded_anew_has_another_family_id() {
    let kernel = FakeKernel::new(TWO);
    let (mut table, _) = kernel.table();
    table.snapshot().await.unwrap();
    kernel.state().family = 30;
    assert_eq!(keys(&table.snapshot().await.unwrap()).len(), 2);
    kernel.script(abi::GET_DEST, edit(|state| state.family = 31));
    assert_eq!(keys(&table.snapshot().await.unwrap()).len(), 2, "in the middle of a read");
}

#[tokio::test]
async fn without_the_capability_it_says_so() {
    let kernel = FakeKernel::new(TWO);
    let (mut table, telemetry) = kernel.table();
    kernel.state().privileged = false;
    assert_eq!(table.snapshot().await, Err(ReadFailure::NoPermission));
    assert_eq!(telemetry.lock().errors[&("get_info", "EPERM".to_owned())], 1);
    assert_eq!(telemetry.lock().dumps_retried, 0);
    kernel.state().privileged = true;
    table.snapshot().await.unwrap();
    assert_eq!(kernel.state().opened, 2, "a socket opened without it stays useless");
}

#[tokio::test]
async fn a_service_that_cannot_be_named_does_not_hide_the_others() {
    let kernel = FakeKernel::new(TWO);
    let (mut table, _) = kernel.table();
    kernel.state().foreign = vec![0, 51];
    assert_eq!(keys(&table.snapshot().await.unwrap()).len(), 2);
}
