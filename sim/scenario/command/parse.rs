//! From a line to a [`Command`]: which program, and the arguments of the small ones.

use std::net::IpAddr;
use std::time::Duration;

use bellhop_core::object::Family;

use super::{Command, CommandLine, kubectl, words};

/// The programs, for messages.
const PROGRAMS: &str = "expected kubectl, ping, ip neigh or curl";

/// Reads one command line. The error is a sentence that says what was expected.
pub fn parse(text: &str) -> Result<Command, String> {
    let argv = words::words(text)?;
    let Some((program, arguments)) = argv.split_first() else {
        return Err(format!("an empty command: {PROGRAMS}"));
    };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let what = match program.as_str() {
        "kubectl" => CommandLine::Kubectl(kubectl::parse(&arguments)?),
        "ping" => ping(&arguments)?,
        "ip" => ip(&arguments)?,
        "curl" => curl(&arguments)?,
        other => return Err(format!("`{other}` is not a command that scenarios know: {PROGRAMS}")),
    };
    Ok(Command { text: text.trim().to_owned(), argv, what })
}

/// `ping -c N [-i S] ADDRESS`.
fn ping(arguments: &[&str]) -> Result<CommandLine, String> {
    let (mut count, mut interval, mut to) = (None, Duration::from_secs(1), None);
    let mut rest = arguments.iter().copied();
    while let Some(argument) = rest.next() {
        match argument {
            "-c" => count = Some(number(rest.next(), "ping -c", 10_000)?),
            "-i" => interval = seconds(rest.next(), "ping -i")?,
            flag if flag.starts_with('-') => return Err(format!("ping: unknown option `{flag}`: expected -c or -i")),
            address if to.is_none() => to = Some(ip_address(address)?),
            more => return Err(format!("ping: `{more}` is one argument too many")),
        }
    }
    let count = count.ok_or(
        "ping: expected -c and a number, because a scenario's commands must end (for a continuous one: `ping: {from, to, every}`)",
    )?;
    // iputils refuses less than 2 ms from an ordinary user.
    if interval < Duration::from_millis(2) {
        return Err("ping -i: expected at least 0.002".to_owned());
    }
    Ok(CommandLine::Ping { count, interval, to: to.ok_or("ping: expected an address")? })
}

/// `ip [-4|-6] neigh [show [ADDRESS]]`.
fn ip(arguments: &[&str]) -> Result<CommandLine, String> {
    let (family, rest) = match arguments {
        ["-4", rest @ ..] => (Some(Family::V4), rest),
        ["-6", rest @ ..] => (Some(Family::V6), rest),
        rest => (None, rest),
    };
    match rest {
        ["neigh" | "neighbor" | "neighbour" | "n"] | ["neigh", "show"] => Ok(CommandLine::IpNeigh { family, to: None }),
        ["neigh", "show", address] => Ok(CommandLine::IpNeigh { family, to: Some(ip_address(address)?) }),
        _ => Err("ip: expected `ip neigh`, `ip -6 neigh` or `ip neigh show ADDRESS`".to_owned()),
    }
}

/// `curl [-s] [-m N] URL`.
fn curl(arguments: &[&str]) -> Result<CommandLine, String> {
    let (mut limit, mut url) = (None, None);
    let mut rest = arguments.iter().copied();
    while let Some(argument) = rest.next() {
        match argument {
            "-s" => {}
            "-m" => limit = Some(seconds(rest.next(), "curl -m")?),
            flag if flag.starts_with('-') => return Err(format!("curl: unknown option `{flag}`: expected -s or -m")),
            text if url.is_none() => url = Some(checked_url(text)?.to_owned()),
            more => return Err(format!("curl: `{more}` is one argument too many")),
        }
    }
    Ok(CommandLine::Curl { limit, url: url.ok_or("curl: expected a URL")? })
}

/// A URL that a world without names and TLS can fetch: `[http://]ADDRESS[:PORT][/PATH]`.
pub(crate) fn checked_url(text: &str) -> Result<&str, String> {
    let refused = || format!("`{text}` is not a URL that can be fetched here: expected [http://]ADDRESS[:PORT][/PATH]");
    let rest = text.strip_prefix("http://").unwrap_or(text);
    let host = rest.split('/').next().unwrap_or_default();
    let fits = host.parse::<std::net::SocketAddr>().is_ok()
        || host.parse::<std::net::Ipv4Addr>().is_ok()
        || host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
    if fits && rest.bytes().all(|c| c.is_ascii_graphic()) { Ok(text) } else { Err(refused()) }
}

/// An address, not a name: there is no DNS on the LAN.
fn ip_address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is not an IP address"))
}

/// A whole number from 1 to `most`.
fn number(text: Option<&str>, option: &str, most: u64) -> Result<u64, String> {
    let number = text.and_then(|text| text.parse().ok()).filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("{option}: expected a number from 1 to {most}"))
}

/// Seconds, as ping and curl take them.
fn seconds(text: Option<&str>, option: &str) -> Result<Duration, String> {
    let duration = text.and_then(|text| crate::duration::parse(&format!("{text}s")).ok()).filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| format!("{option}: expected seconds, as in 1 or 0.2"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_commands_of_the_tutorial_are_understood() {
        let to = "192.168.0.91".parse().unwrap();
        let ping = CommandLine::Ping { count: 3, interval: Duration::from_millis(200), to };
        assert_eq!(parse("ping -c 3 -i 0.2 192.168.0.91").unwrap().what, ping);
        assert_eq!(parse("ip neigh").unwrap().what, CommandLine::IpNeigh { family: None, to: None });
        assert_eq!(parse("ip -6 neigh").unwrap().what, CommandLine::IpNeigh { family: Some(Family::V6), to: None });
        let curl = CommandLine::Curl { limit: Some(Duration::from_secs(2)), url: "192.168.0.91".to_owned() };
        assert_eq!(parse("curl -s -m 2 192.168.0.91").unwrap().what, curl);
    }

    #[test]
    fn what_is_not_understood_says_what_was_expected() {
        for (line, part) in [
            ("", "expected kubectl, ping"),
            ("reboot", "expected kubectl, ping"),
            ("ping 192.168.0.91", "expected -c"),
            ("ping -c 0 192.168.0.91", "from 1 to 10000"),
            ("ping -c 3 example.org", "not an IP address"),
            ("ip route", "expected `ip neigh`"),
            ("curl https://192.168.0.91", "expected [http://]"),
            ("curl -X POST 192.168.0.91", "unknown option `-X`"),
        ] {
            let message = parse(line).unwrap_err();
            assert!(message.contains(part), "{line}: {message}");
        }
    }
}
