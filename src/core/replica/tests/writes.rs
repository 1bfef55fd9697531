//! Writes and Events: in what order, how often, and what is told of those that fail.

use super::*;

#[test]
fn after_a_conflict_the_newer_object_is_written_at_once() {
    let mut bench = Bench::tutorial();
    let key = ServiceKey::new("default", "second");
    bench.services.insert(key.clone(), service("second", 6));
    bench.replica.handle_service(bench.now, service("second", 6));
    // Somebody else writes the Eip each time, and the watch is behind: conflict after conflict, with the longest wait in the end.
    let subject = Subject::Pool("porter-layer2-eip".into());
    for _ in 0..60 {
        if bench.replica.poll_write(bench.now).is_some() {
            bench.replica.handle_written(bench.now, &subject, Written::Conflict);
        }
        bench.now = bench.now + Duration::from_secs(1);
        let lease = bench.replica.poll_lease(bench.now).expect("it is renewed");
        bench.lease(&lease);
    }
    assert!(bench.replica.poll_write(bench.now).is_none(), "it waits");
    let mut newer = bench.pools[&PoolName::from("porter-layer2-eip")].clone();
    bench.version += 1;
    newer.version = Version(bench.version.to_string());
    bench.add_pool(newer);
    bench.drain();
    assert_eq!(bench.status("second").ingress, [IpAddr::from([192, 168, 0, 92])]);
}

#[test]
fn events_wait_behind_records() {
    let mut bench = Bench::tutorial();
    bench.replica.handle_service(bench.now, service("second", 6));
    let Some(Write::PoolStatus { status, .. }) = bench.replica.poll_write(bench.now) else { panic!("the record comes first") };
    assert!(status.used.contains_key(&IpAddr::from([192, 168, 0, 92])));
    assert_eq!(bench.replica.poll_write(bench.now), None, "the Service is told when it is on record");
    assert_eq!(bench.replica.poll_event(bench.now).map(|event| event.reason), Some("IPAllocated"));
}

#[test]
fn a_flood_of_events_is_cut_and_told_of_in_one_line() {
    let mut bench = Bench::tutorial();
    let subject = Subject::Service(ServiceKey::new("default", "porter-layer2-svc"));
    (0..5000).for_each(|_| bench.replica.controller.tell(subject.clone(), false, event::NODE_CHANGED, String::new()));
    let told = std::iter::from_fn(|| bench.replica.poll_event(bench.now)).count();
    let untold: Vec<Notice> =
        std::iter::from_fn(|| bench.replica.poll_notice()).filter(|notice| matches!(notice, Notice::Untold(_))).collect();
    assert_eq!((told, untold), (WAITING_MAX, vec![Notice::Untold(5000 - WAITING_MAX as u64)]));
}

#[test]
fn of_more_who_wait_than_events_may_each_is_told_again() {
    let mut bench = Bench::tutorial();
    let waiting = WAITING_MAX + 7;
    for number in 0..waiting {
        let request = Request { pools: vec!["gone".into()], ..Request::default() };
        bench.add_service(Service { request: Some(request), ..service(&format!("s{number}"), 9) });
    }
    bench.drain();
    bench.events.clear();
    bench.pass(Duration::from_secs(26 * 60));
    let again: BTreeSet<&Subject> = bench.events.iter().map(|event| &event.subject).collect();
    assert_eq!(again.len(), waiting);
}

#[test]
fn a_write_under_way_whose_object_changes_again_keeps_no_timer_busy() {
    let mut bench = Bench::tutorial();
    bench.pass(Duration::from_secs(10));
    let key = ServiceKey::new("default", "porter-layer2-svc");
    let subject = Subject::Service(key.clone());
    bench.replica.handle_written(bench.now, &subject, Written::Failed);
    bench.replica.handle_slice(bench.now, slice("porter-layer2-svc", &[]));
    bench.now = bench.now + Duration::from_millis(900);
    bench.replica.handle_timeout(bench.now);
    while let Some(write) = bench.replica.poll_write(bench.now) {
        assert!(!matches!(write, Write::PoolStatus { .. }));
    }
    bench.replica.handle_slice(bench.now, slice("porter-layer2-svc", &["worker-p001"]));
    assert_eq!(bench.replica.poll_write(bench.now), None, "it is under way");
    while bench.replica.poll_transmit(bench.now, &mut Vec::new()).is_some() {}
    while let Some(write) = bench.replica.poll_lease(bench.now) {
        bench.lease(&write);
    }
    assert!(bench.replica.poll_timeout(bench.now).is_none_or(|next| next > bench.now));
}

#[test]
fn what_is_taken_and_does_not_stand_there_after_is_not_written_in_a_loop() {
    let mut bench = Bench::new();
    bench.add_pool(pool("porter-layer2-eip", "192.168.0.91-192.168.0.100"));
    bench.add_service(service("porter-layer2-svc", 5));
    bench.undone = true;
    bench.sync();
    let at_once = bench.writes;
    bench.pass(Duration::from_secs(60));
    // 0.2 s, doubled each time up to 30 s: eight in a minute, for one object that never takes it.
    assert!(at_once <= 8 && (4..=16).contains(&(bench.writes - at_once)), "{at_once} at once, {} in a minute", bench.writes - at_once);
    bench.undone = false;
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.status("porter-layer2-svc").ingress, [IpAddr::from(VIP)]);
}

#[test]
fn an_eip_that_cannot_be_written_is_told_of_once() {
    let mut bench = Bench::tutorial();
    let told = |bench: &mut Bench| {
        let mut told = 0;
        while let Some(write) = bench.replica.poll_write(bench.now) {
            if let Write::PoolStatus { pool, .. } = write {
                bench.replica.handle_written(bench.now, &Subject::Pool(pool), Written::Failed);
            }
        }
        while let Some(event) = bench.replica.poll_event(bench.now) {
            told += usize::from(event.reason == "EipConflicting");
        }
        told
    };
    bench.add_pool(Pool { created: 9, ..pool("younger", "192.168.0.91") });
    let mut sum = told(&mut bench);
    for _ in 0..10 {
        bench.now = bench.now + Duration::from_secs(40);
        bench.replica.handle_timeout(bench.now);
        while let Some(write) = bench.replica.poll_lease(bench.now) {
            bench.lease(&write);
        }
        sum += told(&mut bench);
    }
    assert_eq!(sum, 1);
}

#[test]
fn why_a_service_waits_is_told_again_within_the_hour_of_an_event_and_nothing_else_is_written() {
    let mut bench = Bench::tutorial();
    bench.add_service(Service { request: Some(Request { pools: vec!["nowhere".into()], ..Request::default() }), ..service("waits", 9) });
    bench.drain();
    bench.pass(Duration::from_secs(10));
    let (writes, told) = (bench.writes, bench.events.len());
    bench.pass(Duration::from_secs(3600));
    let again = &bench.events[told..];
    assert_eq!(again.len(), 2);
    assert!(again.iter().all(|event| event.reason == "AllocationFailed" && event.message.starts_with("UnknownEip")));
    assert_eq!(bench.writes, writes);
}

#[test]
fn what_was_to_be_told_again_while_the_api_was_away_is_told_when_it_is_back() {
    let mut bench = Bench::tutorial();
    bench.add_service(Service { request: Some(Request { pools: vec!["nowhere".into()], ..Request::default() }), ..service("waits", 9) });
    bench.drain();
    bench.pass(Duration::from_secs(20 * 60));
    bench.api_up = false;
    bench.pass(Duration::from_secs(10 * 60));
    assert_eq!(bench.replica.role(), Role::Unconfirmed);
    let told = bench.events.len();
    bench.api_up = true;
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.reasons()[told..], ["AllocationFailed"]);
}

#[test]
fn a_record_that_the_api_refuses_is_told_on_the_service_that_waits_for_it() {
    let mut bench = Bench::new();
    bench.add_pool(Pool { has_finalizer: true, ..pool("lan", "192.168.0.91") });
    bench.add_service(service("web", 1));
    for kind in Kind::ALL {
        bench.replica.handle_synced(bench.now, kind);
    }
    while let Some(lease) = bench.replica.poll_lease(bench.now) {
        bench.lease(&lease);
    }
    let subject = Subject::Pool("lan".into());
    assert!(matches!(bench.replica.poll_write(bench.now), Some(Write::PoolStatus { .. })));
    bench.replica.handle_refused(bench.now, &subject, "cannot patch eips/status".to_owned());
    bench.replica.handle_written(bench.now, &subject, Written::Failed);
    let Some(Write::Service { status, .. }) = bench.replica.poll_write(bench.now) else { panic!("the Service is told") };
    let assigned = status.assigned.expect("told");
    assert_eq!((assigned.status, assigned.reason.as_str(), status.ingress.len()), (false, "Recording", 0));
    assert!(assigned.message.contains("cannot patch eips/status"));
    let events: Vec<Event> = std::iter::from_fn(|| bench.replica.poll_event(bench.now)).collect();
    assert_eq!(events.iter().filter(|event| event.reason == "WriteRefused" && event.subject == subject).count(), 1);
}

#[test]
fn a_record_that_nears_what_kubernetes_takes_is_told_while_there_is_time() {
    let mut bench = Bench::new();
    bench.add_pool(pool("lan", "192.168.0.91-192.168.0.250"));
    let long = "s".repeat(8192);
    (0..80).for_each(|number| bench.add_service(service(&format!("{long}{number}"), 1)));
    bench.sync();
    let condition = |bench: &Bench| bench.pools[&PoolName::from("lan")].status.condition.clone().expect("told");
    assert_eq!(condition(&bench).reason, "Ready");
    (80..100).for_each(|number| bench.add_service(service(&format!("{long}{number}"), 1)));
    bench.drain();
    assert_eq!((condition(&bench).status, condition(&bench).reason.as_str()), (true, "RecordNearlyFull"));
    assert_eq!(bench.reasons().iter().filter(|reason| **reason == "EipRecordLarge").count(), 1);
}
