//! Kinds of machines on one cable: what each does that Linux does not.

use super::*;

/// A machine of a kind, alone on a switch, and every ARP message it sends.
struct Subject {
    fabric: Fabric,
    machine: MachineId,
    nic: NicId,
    sent: Rc<RefCell<Vec<(u64, Arp)>>>,
}

const X: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x0a]);
const Y: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x0b]);

impl Subject {
    fn new(profile: Profile) -> Self {
        let mut fabric = Fabric::new(1);
        let switch = fabric.add_switch();
        let machine = fabric.add_machine(MachineConfig::new("subject").nic("eth0", mac(5), CLIENT_IP, 24).profile(profile));
        let nic = fabric.nic(machine, "eth0").expect("it has an eth0");
        let sent = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&sent);
        fabric.set_sink(Box::new(move |at, event| {
            if let Event::Sent { frame, .. } = event {
                kept.borrow_mut().extend(frame.arp().map(|arp| (at.as_nanos() / 1_000_000, arp)));
            }
        }));
        fabric.connect(nic, switch, Latency::default());
        Self { fabric, machine, nic, sent }
    }

    fn pass(&mut self, seconds: u64) {
        self.fabric.run_until(self.fabric.now() + Duration::from_secs(seconds));
    }

    /// Somebody's ARP message reaches it, alone or with everybody.
    fn hear(&mut self, operation: Operation, sender: (MacAddr, Ipv4Addr), target: (MacAddr, Ipv4Addr), to: MacAddr) {
        let arp = Arp { operation, sender_mac: sender.0, sender_ip: sender.1, target_mac: target.0, target_ip: target.1 };
        self.fabric.inject(self.nic, &arp.frame(sender.0, to));
    }

    fn announce(&mut self, mac: MacAddr) {
        self.hear(Operation::Request, (mac, VIP), (MacAddr::ZERO, VIP), MacAddr::BROADCAST);
    }

    /// It asks for the VIP, and `mac` answers.
    fn learn(&mut self, mac: MacAddr) {
        self.packet();
        self.hear(Operation::Reply, (mac, VIP), (super::mac(5), CLIENT_IP), super::mac(5));
    }

    fn packet(&mut self) {
        self.fabric.send_datagram(self.machine, None, VIP.into(), false);
    }

    fn entry(&self) -> Option<(NeighborState, Option<MacAddr>)> {
        self.fabric.neighbors(self.machine).first().map(|neighbor| (neighbor.state, neighbor.mac))
    }

    /// The senders and targets of what it asked since the last look.
    fn asked(&self) -> Vec<(Ipv4Addr, Ipv4Addr)> {
        let sent = std::mem::take(&mut *self.sent.borrow_mut());
        sent.into_iter().filter(|(_, arp)| arp.operation == Operation::Request).map(|(_, arp)| (arp.sender_ip, arp.target_ip)).collect()
    }
}

#[test]
fn windows_takes_an_announcement_and_anothers_reply_at_once_and_learns_nothing_new_by_it() {
    let mut windows = Subject::new(Profile::Windows);
    windows.announce(X);
    assert_eq!(windows.entry(), None);
    windows.learn(X);
    windows.announce(Y);
    assert_eq!(windows.entry(), Some((NeighborState::Stale, Some(Y))));
    // Linux would not believe this for a second.
    windows.fabric.run_until(windows.fabric.now() + Duration::from_millis(10));
    windows.hear(Operation::Reply, (X, VIP), (mac(5), CLIENT_IP), mac(5));
    assert_eq!(windows.entry(), Some((NeighborState::Reachable, Some(X))), "it has no lock");
}

#[test]
fn a_slow_cache_asks_nobody_for_four_hours_from_the_last_frame_that_told_it() {
    let mut router = Subject::new(Profile::SlowCache);
    router.learn(X);
    router.asked();
    for _ in 0..3 {
        router.pass(3600);
        router.packet();
    }
    assert_eq!(router.asked(), []);
    router.announce(Y);
    assert_eq!(router.entry(), Some((NeighborState::Reachable, Some(Y))));
    router.pass(4 * 3600 - 1);
    router.packet();
    assert_eq!(router.asked(), []);
    router.pass(2);
    assert_eq!(router.entry(), Some((NeighborState::Failed, None)));
    router.packet();
    assert_eq!(router.asked(), [(CLIENT_IP, VIP)]);
}

#[test]
fn one_that_ignores_announcements_finds_the_new_node_when_its_probes_have_failed() {
    let mut deaf = Subject::new(Profile::IgnoresGratuitous);
    deaf.learn(X);
    deaf.pass(2);
    deaf.announce(Y);
    deaf.hear(Operation::Request, (Y, VIP), (MacAddr::ZERO, CLIENT_IP), MacAddr::BROADCAST);
    assert_eq!(deaf.entry(), Some((NeighborState::Reachable, Some(X))));
    deaf.pass(45);
    deaf.packet();
    deaf.pass(8);
    assert_eq!(deaf.entry(), Some((NeighborState::Failed, None)));
    deaf.learn(Y);
    assert_eq!(deaf.entry(), Some((NeighborState::Reachable, Some(Y))));
}

#[test]
fn a_defender_probes_thrice_announces_twice_and_is_silent_until_then() {
    let mut defender = Subject::new(Profile::Defender);
    let nobody = Ipv4Addr::UNSPECIFIED;
    defender.pass(1);
    defender.hear(Operation::Request, (X, lan_ip(9)), (MacAddr::ZERO, CLIENT_IP), MacAddr::BROADCAST);
    assert!(defender.sent.borrow().iter().all(|(_, arp)| arp.operation == Operation::Request), "it answers for nothing yet");
    defender.pass(12);
    let times: Vec<u64> = defender.sent.borrow().iter().map(|(at, _)| *at).collect();
    assert_eq!(
        defender.asked(),
        [(nobody, CLIENT_IP), (nobody, CLIENT_IP), (nobody, CLIENT_IP), (CLIENT_IP, CLIENT_IP), (CLIENT_IP, CLIENT_IP)]
    );
    let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(times[0] <= 1000 && (1000..=2000).contains(&gaps[0]) && (1000..=2000).contains(&gaps[1]), "{times:?}");
    assert_eq!(gaps[2..], [2000, 2000], "{times:?}");
    defender.hear(Operation::Request, (X, lan_ip(9)), (MacAddr::ZERO, CLIENT_IP), MacAddr::BROADCAST);
    assert_eq!(defender.sent.borrow().last().map(|(_, arp)| arp.operation), Some(Operation::Reply));
}

#[test]
fn a_defender_does_not_take_what_another_has_or_asks_for_too() {
    for sender in [CLIENT_IP, Ipv4Addr::UNSPECIFIED] {
        let mut defender = Subject::new(Profile::Defender);
        defender.pass(2);
        defender.hear(Operation::Request, (X, sender), (MacAddr::ZERO, CLIENT_IP), MacAddr::BROADCAST);
        defender.asked();
        defender.pass(60);
        assert_eq!(defender.asked(), [], "after a frame from {sender}");
        defender.fabric.nic_down(defender.nic);
        defender.fabric.nic_up(defender.nic);
        defender.pass(12);
        assert_eq!(defender.asked().len(), 5, "it tries again when its NIC comes up");
    }
}

#[test]
fn a_defender_defends_once_in_ten_seconds_and_then_gives_up() {
    let mut defender = Subject::new(Profile::Defender);
    let claim = |defender: &mut Subject| defender.hear(Operation::Request, (X, CLIENT_IP), (MacAddr::ZERO, CLIENT_IP), MacAddr::BROADCAST);
    defender.pass(12);
    defender.asked();
    for _ in 0..2 {
        claim(&mut defender);
        assert_eq!(defender.asked(), [(CLIENT_IP, CLIENT_IP)]);
        defender.pass(10);
    }
    claim(&mut defender);
    defender.pass(9);
    defender.asked();
    claim(&mut defender);
    defender.hear(Operation::Request, (X, lan_ip(9)), (MacAddr::ZERO, CLIENT_IP), MacAddr::BROADCAST);
    assert_eq!(defender.sent.borrow().len(), 0, "it has given up, and answers no more");
    assert_eq!(defender.fabric.interfaces(defender.machine)[0].addresses, [], "nor has it an address");
}

#[test]
fn profiles_have_five_names_and_no_other() {
    let names = ["linux", "windows", "slow-cache", "ignores-gratuitous", "defender"];
    assert_eq!(names.map(|name| name.parse::<Profile>().map(Profile::name)), names.map(Ok));
    let error = "macos".parse::<Profile>().expect_err("nobody is called that");
    assert_eq!(
        error.to_string(),
        "`macos` is no kind of machine: expected one of linux, windows, slow-cache, ignores-gratuitous, defender"
    );
}
