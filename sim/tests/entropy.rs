//! A detector: no run asks the operating system for entropy or for the time while it is played.
//!
//! This test binary has libc's functions for both in it, so that whoever calls them, in whatever crate, calls these: they count while a thread
//! is armed, note who called, and pass the question on to the kernel. It changes no answer. Time that the runtime knows is paused and an input;
//! the few calls that are left are listed below with their reasons.
#![cfg(target_os = "linux")]
#![expect(unsafe_code, reason = "functions of libc are defined here; the only unsafe code outside src/link")]

use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::hint::black_box;
use std::path::Path;

use bellhop_scenario::{load, parse_in, play};
use bellhop_sim::SimWorld;

thread_local! {
    static ARMED: Cell<bool> = const { Cell::new(false) };
    static CALLS: RefCell<Vec<Call>> = const { RefCell::new(Vec::new()) };
}

/// A question to the operating system.
struct Call {
    /// The function of libc.
    function: &'static str,
    /// Who called it, the innermost first.
    stack: String,
}

/// Notes a call of this thread, if it is armed. What is called meanwhile is the detector's own.
fn note(function: &'static str) {
    if ARMED.try_with(|armed| armed.replace(false)) != Ok(true) {
        return;
    }
    let stack = Backtrace::force_capture().to_string();
    CALLS.with_borrow_mut(|calls| calls.push(Call { function, stack }));
    ARMED.set(true);
}

/// What the operating system was asked for while `run` ran.
fn calls_of<T>(run: impl FnOnce() -> T) -> (T, Vec<Call>) {
    CALLS.take();
    ARMED.set(true);
    let result = run();
    ARMED.set(false);
    (result, CALLS.take())
}

// SAFETY, for all of these: each has the signature of libc's function of that name, and gives the caller's arguments unchanged to the system call that
// libc's function is. The names are libc's, and this binary is linked so that its own come first; nothing else here has them.

#[unsafe(no_mangle)]
extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
    note("getrandom");
    // SAFETY: see above.
    unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) as isize }
}

#[unsafe(no_mangle)]
extern "C" fn getentropy(buffer: *mut c_void, length: usize) -> c_int {
    note("getentropy");
    // SAFETY: see above; getentropy(3) is getrandom(2) without flags, for at most 256 bytes, all or none.
    let got = unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, 0) };
    if usize::try_from(got) == Ok(length) { 0 } else { -1 }
}

#[unsafe(no_mangle)]
extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    note("clock_gettime");
    // SAFETY: see above.
    unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as c_int }
}

#[unsafe(no_mangle)]
extern "C" fn gettimeofday(time: *mut libc::timeval, zone: *mut c_void) -> c_int {
    note("gettimeofday");
    // SAFETY: see above.
    unsafe { libc::syscall(libc::SYS_gettimeofday, time, zone) as c_int }
}

#[unsafe(no_mangle)]
extern "C" fn time(into: *mut libc::time_t) -> libc::time_t {
    note("time");
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is ours; `into` is null or the caller's to write to, as time(2) has it.
    unsafe {
        libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_REALTIME, &raw mut now);
        if !into.is_null() {
            *into = now.tv_sec;
        }
    }
    now.tv_sec
}

#[unsafe(no_mangle)]
extern "C" fn open(path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
    opened(path, flags, mode)
}

#[unsafe(no_mangle)]
extern "C" fn open64(path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
    opened(path, flags, mode)
}

/// Only files that give entropy count. The mode is libc's variadic argument: where a caller gives none it is of no meaning, and the kernel looks at
/// it no more than libc does.
fn opened(path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
    // SAFETY: the caller's path ends with a zero, as open(2) has it.
    let name = unsafe { CStr::from_ptr(path) };
    if matches!(name.to_bytes(), b"/dev/urandom" | b"/dev/random") {
        note("open");
    }
    // SAFETY: see above.
    unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) as c_int }
}

/// A call that changes nothing that a run could show.
struct Harmless {
    function: &'static str,
    /// What the innermost caller outside std is in.
    caller: &'static str,
    why: &'static str,
    /// How often in a run; `None`: as often as the runtime has turns.
    times: Option<usize>,
}

/// All of them are tokio's, and none can be turned off (1.54).
const HARMLESS: [Harmless; 3] = [
    Harmless {
        function: "clock_gettime",
        caller: "tokio::runtime::metrics::batch::",
        why: "the runtime adds up how long it was busy, and nobody asks it",
        times: None,
    },
    Harmless {
        function: "clock_gettime",
        caller: "tokio::time::clock::Clock::",
        why: "a paused clock begins at some moment; only differences to that are ever used",
        times: Some(2),
    },
    Harmless {
        function: "getrandom",
        caller: "tokio::",
        why: "the runtime seeds the order in which select! looks, and every select! here is biased",
        times: Some(1),
    },
];

impl Call {
    /// The innermost caller that is neither the detector nor the standard library.
    fn caller(&self) -> &str {
        let mut names = self.stack.lines().filter_map(|line| line.trim().split_once(": ").map(|(_, name)| name));
        let is_between = |name: &str| {
            let name = name.trim_start_matches('<');
            name.trim_end_matches("64") == self.function
                || ["std::", "core::", "alloc::", "entropy::note", "entropy::opened"].iter().any(|of| name.starts_with(of))
        };
        names.find(|name| !is_between(name)).unwrap_or("nobody")
    }
}

/// Plays a file in a thread of its own, so that what the standard library asks for once in a thread is asked for here; and says what is left of
/// the calls without those that are harmless.
fn asked_by(name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(name);
    let scenario = load(&path).expect("the scenarios are valid");
    let play = || calls_of(|| play(&scenario, &mut SimWorld::new(None)).expect("the simulator plays every scenario").failed());
    let (failed, calls) = std::thread::scope(|scope| scope.spawn(play).join().expect("it does not panic"));
    assert_eq!(failed, 0, "{name}");
    for Harmless { function, caller, why, times } in HARMLESS {
        let found = calls.iter().filter(|call| call.function == function && call.caller().contains(caller)).count();
        assert!(times.is_none_or(|times| times == found) && found > 0, "{function} by {caller} {found} times, not {times:?} ({why})");
    }
    let is_harmless = |call: &Call| HARMLESS.iter().any(|known| known.function == call.function && call.caller().contains(known.caller));
    calls.iter().filter(|call| !is_harmless(call)).map(|call| format!("{} by {}\n{}", call.function, call.caller(), call.stack)).collect()
}

const NOTHING: [String; 0] = [];

#[test]
fn the_tutorial_asks_the_system_for_neither_entropy_nor_time() {
    assert_eq!(asked_by("tutorial/tutorial-cluster.yaml"), NOTHING);
}

#[test]
fn a_change_of_leaders_asks_the_system_for_neither_entropy_nor_time() {
    assert_eq!(asked_by("leadership/leader-dies.yaml"), NOTHING);
}

#[test]
fn an_outage_of_the_api_server_asks_the_system_for_neither_entropy_nor_time() {
    assert_eq!(asked_by("api-faults/api-server-away.yaml"), NOTHING);
}

#[test]
fn a_rollout_asks_the_system_for_neither_entropy_nor_time() {
    assert_eq!(asked_by("rollout/rolling-update-local.yaml"), NOTHING);
}

/// A number that grows by one with every `RandomState::new()` of this thread: the standard library asks for entropy once in a thread, and makes all
/// keys of hash maps from that.
#[expect(clippy::disallowed_types, reason = "whoever else makes one is to be found")]
fn keys() -> u64 {
    // SAFETY: two numbers that mean nothing, read out of two numbers. Only their sum is looked at, whichever of them is the first.
    let [one, other] = unsafe { std::mem::transmute::<std::hash::RandomState, [u64; 2]>(std::hash::RandomState::new()) };
    one.wrapping_add(other)
}

/// How many keys of hash maps are made while the tutorial's Service is there for so long, and this happens.
fn keys_of(stop: &str, steps: &[&str]) -> u64 {
    let steps: String = steps.iter().map(|step| format!("  - {{ {step} }}\n")).collect();
    let text = format!(
        "version: 1\nname: entropy\nabout: A test.\nextends: ../base/tutorial.yaml\nseed: 1\nstop: {stop}\n\
         cluster: {{ manifests: [../seed/porter-layer2-eip.yaml, ../seed/porter-layer2.yaml, ../seed/porter-layer2-svc.yaml] }}\n\
         timeline:\n  - {{ at: 0s, apply: all }}\n{steps}\
         expect:\n  - {{ what: it has an address, eventually: {{ within: 1s, after: 0s }},\n      \
         condition: {{ kind: Service, name: porter-layer2-svc, type: bellhop.dev/AddressAssigned, status: \"True\" }} }}\n"
    );
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/failover");
    let scenario = parse_in(&folder, &text).unwrap_or_else(|refusal| panic!("{refusal}"));
    let play = || {
        let before = keys();
        let failed = play(&scenario, &mut SimWorld::new(None)).expect("the simulator plays it").failed();
        (failed, keys().wrapping_sub(before) - 1)
    };
    let (failed, made) = std::thread::scope(|scope| scope.spawn(play).join().expect("it does not panic"));
    assert_eq!(failed, 0);
    made
}

/// Those that are made are four of tokio's (two seeds as above, and two maps of threads, of which there is none) and the YAML parser's, for every file
/// that kubectl and kube-proxy read: sets in which it looks up keys and anchors. Found with a watchpoint on the thread's keys.
#[test]
fn no_hash_map_is_made_by_anything_that_happens_later() {
    let happens = [
        "at: 2s, ping: { from: i-f3fozos0, to: 192.168.0.91, every: 200ms }",
        "at: 2s, curl: { from: i-f3fozos0, url: \"http://192.168.0.91\", every: 500ms }",
        "at: 5s, api: { latency: 10ms..1s, refuse: { 429: 5%, 500: 5% }, lose-answers: 10%, cut-watches: 3s, gone: stream, for: 20s }",
        "at: 10s, cable: { machine: i-f3fozos0, nic: eth0, loss: 20%, duplicate: 10%, reorder: 10%, corrupt: 1%, for: 5s }",
        "at: 12s, run: kubectl scale deployment porter-layer2 --replicas 4",
        "at: 15s, run: kubectl get pods -o wide",
        "at: 30s, restart-bellhop: leader",
        "at: 40s, kill-bellhop: leader",
        "at: 45s, flap: { machine: worker-p001, nic: eth0, every: 500ms, for: 5s }",
    ];
    assert_eq!(keys_of("60s", &happens), keys_of("5s", &[]));
}

#[test]
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "the detector is shown what it is to find")]
fn what_asks_the_system_is_found() {
    let ask = || {
        let ((), calls) = calls_of(|| {
            black_box(std::hash::RandomState::new());
            black_box(std::time::Instant::now());
            black_box(std::time::SystemTime::now());
            black_box(jiff::Timestamp::now());
            black_box(std::fs::File::open("/dev/urandom").is_ok());
        });
        calls.iter().map(|call| (call.function, call.caller().to_owned())).collect::<Vec<_>>()
    };
    let found = std::thread::scope(|scope| scope.spawn(ask).join().expect("it does not panic"));
    let functions: Vec<&str> = found.iter().map(|(function, _)| *function).collect();
    assert_eq!(functions, ["getrandom", "clock_gettime", "clock_gettime", "clock_gettime", "open"]);
    assert!(found[0].1.contains("what_asks_the_system_is_found") && found[3].1.contains("jiff"), "and who asked: {found:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the detector is shown what it is to find")]
fn what_an_unarmed_thread_asks_is_its_own_business() {
    black_box(std::time::SystemTime::now());
    assert_eq!(calls_of(|| ()).1.len(), 0);
}
