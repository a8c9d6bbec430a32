use super::*;
use crate::ipvs::abi;
use crate::ipvs::fake::{Event, FakeKernel, State};
use crate::model::{Forwarding, Tunnel, TunnelKind};

const TABLE: &str = "-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.0.0.11:80 -w 5\n\
    -a -t 10.0.0.1:80 -r 10.0.0.12:80 -i -w 7 -x 9 -y 8 --tun-type gue --tun-port 6080 --tun-csum\n\
    -A -t 10.0.0.2:80 -s rr\n-a -t 10.0.0.2:80 -r [fd00::11]:80 -i -w 5\n";
const FIRST: &str = "10.0.0.1:80/tcp";
const SECOND: &str = "10.0.0.2:80/tcp";

fn change(service: &str, dest: &str, from: u32, to: u32) -> WeightChange {
    WeightChange {
        service: service.parse().unwrap(),
        dest: dest.parse().unwrap(),
        from: Weight(from),
        to: Weight(to),
    }
}

fn edit(change: impl FnOnce(&mut State) + Send + 'static) -> Event {
    Event::Edit(Box::new(change))
}

fn outcomes(report: &WriteReport) -> Vec<WriteOutcome> {
    report.results.iter().map(|(_, outcome)| outcome.clone()).collect()
}

#[tokio::test]
async fn weights_are_written_and_read_back_with_three_requests_a_service() {
    let kernel = FakeKernel::new(TABLE);
    let (mut table, telemetry) = kernel.table();
    let before = table.snapshot().await.unwrap();
    kernel.state().log.clear();
    let changes = [
        change(SECOND, "[fd00::11]:80", 5, 0),
        change(FIRST, "10.0.0.12:80", 7, 65535),
        change(FIRST, "10.0.0.11:80", 5, 0),
    ];
    let report = table.set_weights(&changes).await;
    assert_eq!(outcomes(&report), vec![WriteOutcome::Written; 3]);
    assert_eq!(report.results.iter().map(|(c, _)| *c).collect::<Vec<_>>(), changes, "in the order asked");
    let numbers = [abi::GET_FAMILY, abi::GET_DEST, abi::SET_DEST, abi::SET_DEST, abi::GET_DEST];
    let mut expected: Vec<u8> = numbers.iter().map(|c| c.number).collect();
    expected.extend([abi::GET_DEST, abi::SET_DEST, abi::GET_DEST].map(|c| c.number));
    assert_eq!(kernel.state().log, expected);

    let mut wanted: Vec<VirtualServer> = before.services.iter().map(|s| (**s).clone()).collect();
    wanted[0].destinations[0].weight = Weight(0);
    wanted[0].destinations[1].weight = Weight(65535);
    wanted[1].destinations[0].weight = Weight(0);
    assert_eq!(kernel.rows(), wanted, "nothing but weights");
    assert_eq!(report.services, wanted);
    let gue = &wanted[0].destinations[1];
    assert_eq!(gue.tunnel, Some(Tunnel { kind: TunnelKind::Gue, port: 6080, flags: 1 }));
    assert_eq!((gue.forwarding, gue.upper_threshold, gue.lower_threshold), (Forwarding::Tunnel, 9, 8));
    assert_eq!(telemetry.lock().requests["set_dest"], 3);
    assert_eq!(telemetry.lock().durations["set_dest"].count, 3);
}

#[tokio::test]
async fn what_does_not_hold_any_more_is_not_written() {
    let kernel = FakeKernel::new(TABLE);
    let (mut table, _) = kernel.table();
    let changes = [
        change(FIRST, "10.0.0.11:80", 1, 0),
        change(FIRST, "10.0.0.12:80", 0, 7),
        change(FIRST, "10.0.0.13:80", 1, 0),
        change("10.0.0.9:80/tcp", "10.0.0.11:80", 1, 0),
        change(SECOND, "[fd00::11]:80", 5, 5),
        change(SECOND, "[fd00::11]:80", 5, 6),
        change(SECOND, "[fd00::12]:80", 5, 1 << 31),
    ];
    let report = table.set_weights(&changes).await;
    let outcomes = outcomes(&report);
    assert_eq!(
        outcomes[..5],
        [
            WriteOutcome::Conflict(Weight(5)),
            WriteOutcome::Conflict(Weight(7)),
            WriteOutcome::Gone,
            WriteOutcome::Gone,
            WriteOutcome::Written
        ]
    );
    assert!(matches!(&outcomes[5], WriteOutcome::Failed(why) if why.contains("named twice")), "{outcomes:?}");
    assert!(matches!(&outcomes[6], WriteOutcome::Failed(why) if why.contains("largest")), "{outcomes:?}");
    assert_eq!(kernel.count(abi::SET_DEST), 0);
    let keys: Vec<_> = report.services.iter().map(|s| s.key.to_string()).collect();
    assert_eq!(keys, [FIRST, SECOND], "what was read is told all the same");
}

#[tokio::test]
async fn a_hidden_destination_is_not_gone() {
    let kernel = FakeKernel::new(TABLE);
    let (mut table, _) = kernel.table();
    kernel.script(abi::GET_DEST, Event::Hide(vec!["10.0.0.11:80"]));
    let report = table.set_weights(&[change(FIRST, "10.0.0.11:80", 5, 0)]).await;
    assert!(kernel.script_is_over());
    assert_eq!(outcomes(&report), [WriteOutcome::Written]);
}

#[tokio::test]
async fn deleted_between_read_and_write_is_gone_and_stays_so() {
    let kernel = FakeKernel::new(TABLE);
    let (mut table, telemetry) = kernel.table();
    kernel.script(
        abi::SET_DEST,
        edit(|state| {
            state.services[0].destinations.remove(0);
        }),
    );
    kernel.script(
        abi::SET_DEST,
        edit(|state| {
            state.services.remove(1);
        }),
    );
    let changes = [change(FIRST, "10.0.0.11:80", 5, 0), change(SECOND, "[fd00::11]:80", 5, 0)];
    let report = table.set_weights(&changes).await;
    assert!(kernel.script_is_over());
    assert_eq!(outcomes(&report), [WriteOutcome::Gone, WriteOutcome::Gone]);
    assert_eq!(telemetry.lock().errors[&("set_dest", "ENOENT".to_owned())], 1);
    assert_eq!(telemetry.lock().errors[&("set_dest", "ESRCH".to_owned())], 1);
    let left = kernel.rows();
    assert_eq!((left.len(), left[0].destinations.len()), (1, 1));
    assert_eq!(report.services, left);
}

#[tokio::test]
async fn a_stale_family_is_not_a_missing_destination() {
    let kernel = FakeKernel::new(TABLE);
    let (mut table, _) = kernel.table();
    kernel.script(abi::SET_DEST, edit(|state| state.family = 40));
    let report = table.set_weights(&[change(FIRST, "10.0.0.11:80", 5, 0)]).await;
    let outcome = &outcomes(&report)[0];
    assert!(matches!(outcome, WriteOutcome::Failed(why) if why.contains("loaded anew")), "{outcome:?}");
    kernel.script(abi::GET_DEST, edit(|state| state.family = 41));
    let report = table.set_weights(&[change(FIRST, "10.0.0.11:80", 5, 0)]).await;
    assert_eq!(outcomes(&report), [WriteOutcome::Written], "a read is simply made again");
}

#[tokio::test]
async fn somebody_elses_write_after_ours_is_seen() {
    let kernel = FakeKernel::new(TABLE);
    let (mut table, _) = kernel.table();
    kernel.script(abi::SET_DEST, edit(|_| {}));
    kernel.script(abi::GET_DEST, edit(|state| state.services[0].destinations[0].weight = Weight(77)));
    let report = table.set_weights(&[change(FIRST, "10.0.0.11:80", 5, 0)]).await;
    assert!(kernel.script_is_over());
    assert_eq!(outcomes(&report), [WriteOutcome::ReadBack(Weight(77))]);
    assert_eq!(report.services[0].destinations[0].weight, Weight(77));
}

#[tokio::test]
async fn lost_acknowledgements_leave_the_outcome_unknown_and_the_rows_fresh() {
    let kernel = FakeKernel::new(TABLE);
    let (mut table, telemetry) = kernel.table();
    kernel.script(abi::SET_DEST, Event::Overrun);
    let changes = [change(FIRST, "10.0.0.11:80", 5, 0), change(SECOND, "[fd00::11]:80", 5, 0)];
    let report = table.set_weights(&changes).await;
    let outcomes = outcomes(&report);
    assert!(matches!(&outcomes[0], WriteOutcome::Unknown(why) if why.contains("overran")), "{outcomes:?}");
    assert_eq!(outcomes[1], WriteOutcome::Written, "the next service goes over a new socket");
    assert_eq!(report.services[0].destinations[0].weight, Weight(0), "it was done");
    assert_eq!(telemetry.lock().overruns, 1);
    assert_eq!(kernel.state().opened, 2);
}

#[tokio::test(start_paused = true)]
async fn silence_after_a_write_is_unknown() {
    let kernel = FakeKernel::new(TABLE);
    let (mut table, _) = kernel.table();
    kernel.script(abi::SET_DEST, Event::Silence);
    let report = table.set_weights(&[change(FIRST, "10.0.0.11:80", 5, 0)]).await;
    assert!(
        matches!(&outcomes(&report)[0], WriteOutcome::Unknown(why) if why.contains("no answer within 5s"))
    );
}

#[tokio::test]
async fn a_failed_read_back_is_unknown() {
    let kernel = FakeKernel::new(TABLE);
    let (mut table, _) = kernel.table();
    kernel.script(abi::SET_DEST, edit(|_| {}));
    kernel.script(abi::GET_DEST, Event::Refuse(Errno::ENOMEM));
    let report = table.set_weights(&[change(FIRST, "10.0.0.11:80", 5, 0)]).await;
    assert!(matches!(&outcomes(&report)[0], WriteOutcome::Unknown(why) if why.contains("ENOMEM")));
    assert_eq!(report.services, []);
}

#[tokio::test]
async fn a_refusal_names_the_change_and_the_cause() {
    let kernel = FakeKernel::new(TABLE);
    let (mut table, _) = kernel.table();
    kernel.script(abi::SET_DEST, Event::Refuse(Errno::ERANGE));
    let report = table.set_weights(&[change(FIRST, "10.0.0.11:80", 5, 3)]).await;
    let WriteOutcome::Failed(why) = &outcomes(&report)[0] else { panic!("{report:?}") };
    for part in ["weight 3", "10.0.0.11:80", FIRST, "ERANGE"] {
        assert!(why.contains(part), "{why}");
    }
}

#[tokio::test]
async fn without_ipvs_or_privilege_every_change_fails() {
    let kernel = FakeKernel::new(TABLE);
    let (mut table, _) = kernel.table();
    kernel.state().privileged = false;
    let changes = [change(FIRST, "10.0.0.11:80", 5, 0), change(SECOND, "[fd00::11]:80", 5, 0)];
    for outcome in outcomes(&table.set_weights(&changes).await) {
        assert!(matches!(&outcome, WriteOutcome::Failed(why) if why.contains("EPERM")), "{outcome:?}");
    }
    kernel.state().loaded = false;
    for outcome in outcomes(&table.set_weights(&changes).await) {
        assert!(matches!(&outcome, WriteOutcome::Failed(why) if why.contains("not loaded")), "{outcome:?}");
    }
    assert_eq!(table.set_weights(&[]).await, WriteReport::default());
}

#[tokio::test]
async fn a_big_service_is_written_in_batches_after_one_read() {
    let mut save = String::from("-A -t 10.0.0.1:80 -s rr\n");
    (1..=230).for_each(|n| save += &format!("-a -t 10.0.0.1:80 -r 10.0.1.{n}:80 -w 5\n"));
    let kernel = FakeKernel::new(&save);
    let (mut table, _) = kernel.table();
    let changes: Vec<_> = (1..=230).map(|n| change(FIRST, &format!("10.0.1.{n}:80"), 5, 0)).collect();
    // The acknowledgements of the second batch are lost: the first is done, the third is not sent.
    (0..100).for_each(|_| kernel.script(abi::SET_DEST, edit(|_| {})));
    kernel.script(abi::SET_DEST, Event::Overrun);
    let outcomes = outcomes(&table.set_weights(&changes).await);
    let count = |wanted: fn(&WriteOutcome) -> bool| outcomes.iter().filter(|o| wanted(o)).count();
    assert_eq!(count(|o| *o == WriteOutcome::Written), 100);
    assert!(count(|o| matches!(o, WriteOutcome::Unknown(_))) >= 1);
    assert_eq!(count(|o| matches!(o, WriteOutcome::Failed(why) if why.contains("not sent"))), 30);
    assert_eq!(kernel.count(abi::SET_DEST), 200);
    assert_eq!(kernel.count(abi::GET_DEST), 2);
}
