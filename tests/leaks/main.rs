//! The leak test (spec 4.2, 9.2): no client ever gets a byte that the upstream, asked directly, would not have given it.
//!
//! Upstreams are generated whose content depends on one property of the request. Clients are generated that differ in it,
//! or in others, and connect, leave and come back in a generated order. What each of them reads is compared with what that
//! upstream says to that very request. `SSECAR_LEAK_CASES` sets the number of generated cases.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

mod service;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config as RunnerConfig, TestRunner};
use ssecar::app::App;
use ssecar::config::Command;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use service::{Property, Service};

/// In CI; the long campaign sets more.
const CASES: u32 = 200;

const PATIENCE: Duration = Duration::from_secs(20);

/// A client, by which of a few values each property of its request has.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Visitor {
    values: [u8; Property::ALL.len()],
    /// Comes back with the id it saw last.
    comes_back: bool,
    /// Says what it accepts.
    is_declared: bool,
    /// Speaks only after the others are there.
    is_late: bool,
}

#[derive(Debug, Clone)]
struct Case {
    depends_on: Property,
    varies_all: bool,
    share: &'static str,
    visitors: Vec<Visitor>,
}

fn visitor() -> impl Strategy<Value = Visitor> {
    // Mostly alike, so that they would share if a property were forgotten.
    let value = prop_oneof![3 => Just(0u8), 1 => Just(1), 1 => Just(2)];
    let values = prop::collection::vec(value, Property::ALL.len());
    (values, any::<bool>(), prop::bool::weighted(0.7), any::<bool>()).prop_map(
        |(values, comes_back, is_declared, is_late)| Visitor {
            values: values.try_into().unwrap(),
            comes_back,
            is_declared,
            is_late,
        },
    )
}

fn case() -> impl Strategy<Value = Case> {
    let property = prop::sample::select(Property::ALL.to_vec());
    let visitors = prop::collection::vec(visitor(), 2..7);
    (
        property,
        prop::bool::weighted(0.1),
        prop::sample::select(vec!["same-credentials", "authorized", "public"]),
        visitors,
    )
        .prop_map(|(depends_on, varies_all, share, visitors)| {
            // Sharing across credentials is the operator's word that content does not depend on them.
            let share = if depends_on.is_credential() && share == "public" { "authorized" } else { share };
            Case { depends_on, varies_all, share, visitors }
        })
}

impl Visitor {
    fn request(&self, last: Option<&str>) -> String {
        let value = |property: Property| self.values[property as usize];
        let mut target = format!("/v1/{}/events?room={}", value(Property::Path), value(Property::Query));
        if value(Property::CredentialQuery) > 0 {
            target += &format!("&ticket=t{}", value(Property::CredentialQuery));
        }
        let mut head = format!("GET {target} HTTP/1.1\r\nHost: app{}.example\r\n", value(Property::Host));
        for property in Property::ALL {
            if let Some(name) = property.header() {
                // 0 is: not there.
                if value(property) > 0 {
                    head += &format!("{name}: {}\r\n", property.text(value(property)));
                }
            }
        }
        if self.is_declared {
            head += "Accept: text/event-stream\r\n";
        }
        if let Some(last) = last {
            head += &format!("Last-Event-ID: {last}\r\n");
        }
        head + "\r\n"
    }
}

/// One connection, read as text.
struct Reading {
    stream: TcpStream,
    text: String,
}

impl Reading {
    async fn new(proxy: std::net::SocketAddr, request: &str) -> Self {
        let mut stream = TcpStream::connect(proxy).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        Self { stream, text: String::new() }
    }

    async fn until(&mut self, what: impl Fn(&str) -> bool) {
        let read = async {
            while !what(&self.text) {
                let mut bytes = [0; 4096];
                match self.stream.read(&mut bytes).await {
                    Ok(0) | Err(_) => return,
                    Ok(count) => self.text.push_str(&String::from_utf8_lossy(&bytes[..count])),
                }
            }
        };
        assert!(tokio::time::timeout(PATIENCE, read).await.is_ok(), "in vain: {}", self.text);
    }

    fn last_id(&self) -> Option<&str> {
        self.text.lines().filter_map(|line| line.strip_prefix("id: ")).next_back()
    }

    /// Every `data` and every cookie and origin that it was given.
    fn secrets(&self) -> BTreeSet<String> {
        let of = |prefix: &'static str| {
            self.text.lines().filter_map(move |line| {
                line.get(..prefix.len())
                    .filter(|start| start.eq_ignore_ascii_case(prefix))
                    .map(|_| line.trim_end().to_lowercase())
            })
        };
        of("data: for ").chain(of("set-cookie: ")).chain(of("access-control-allow-origin: ")).collect()
    }
}

/// Clients, and requests at the upstream; or who was given what.
async fn check(case: &Case, flag: Option<&str>) -> Result<(usize, u64), String> {
    let is_shared = case.share != "same-credentials";
    let service = Service::start(case.depends_on, case.varies_all, is_shared).await;
    let upstream = format!("--upstream=http://{}", service.address);
    let share = format!("--share={}", case.share);
    let mut args = vec![
        "ssecar",
        &upstream,
        "--listen=127.0.0.1:0",
        "--admin-listen=off",
        "--credential-query=ticket",
        "--late-join=ring",
        &share,
    ];
    args.extend(flag);
    let Ok(Command::Run(config)) = Command::from_args(args) else { panic!("wrong flags") };
    let app = App::bind(*config).unwrap();
    let proxy = app.address().unwrap();
    let running = tokio::spawn(app.run(std::future::pending(), std::future::pending()));

    let mut visitors: Vec<&Visitor> = case.visitors.iter().collect();
    visitors.sort_by_key(|visitor| visitor.is_late);
    // Those who are early come at once, so that they meet while the first answer is awaited.
    let (early, late): (Vec<&Visitor>, Vec<&Visitor>) = visitors.iter().partition(|visitor| !visitor.is_late);
    let mut readings = Vec::new();
    for visitor in &early {
        readings.push((*visitor, Reading::new(proxy, &visitor.request(None)).await));
    }
    for (_, reading) in &mut readings {
        reading.until(|text| text.contains("data: for ") || text.contains("denied")).await;
    }
    for visitor in late {
        let mut reading = Reading::new(proxy, &visitor.request(None)).await;
        reading.until(|text| text.contains("data: for ") || text.contains("denied")).await;
        readings.push((visitor, reading));
    }
    // Everything once more for those who come back, with the id of what they saw.
    let mut again = Vec::new();
    for (visitor, reading) in &readings {
        if visitor.comes_back {
            let last = reading.last_id();
            let reading = Reading::new(proxy, &visitor.request(last)).await;
            again.push((*visitor, reading));
        }
    }
    service.say_more();
    for (_, reading) in readings.iter_mut().chain(&mut again) {
        reading.until(|text| text.contains(" more") || text.contains("denied")).await;
    }
    for (visitor, reading) in readings.iter().chain(&again) {
        let allowed = service.answer_to(&visitor.request(None));
        for secret in reading.secrets() {
            if !allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(&secret)) {
                let request = visitor.request(None);
                return Err(format!("{secret:?} is none of {allowed:?}\n{request}\n{}", reading.text));
            }
        }
        assert!(!reading.text.is_empty());
    }
    let clients = readings.len() + again.len();
    drop(running);
    Ok((clients, service.subscriptions.load(Ordering::Relaxed)))
}

/// All sockets and tasks of a case end with its runtime.
fn run(case: &Case, flag: Option<&str>) -> Result<(usize, u64), String> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(check(case, flag))
}

#[test]
fn no_client_gets_what_the_upstream_would_not_have_given_it() {
    let cases = std::env::var("SSECAR_LEAK_CASES").map_or(CASES, |cases| cases.parse().expect("a number"));
    let mut runner = TestRunner::new(RunnerConfig {
        cases,
        max_shrink_iters: 50,
        failure_persistence: None,
        ..RunnerConfig::default()
    });
    let totals = std::cell::Cell::new((0, 0, 0));
    let result = runner.run(&case(), |case| {
        let (clients, subscriptions) = run(&case, None).map_err(TestCaseError::fail)?;
        let (all, asked, count) = totals.get();
        totals.set((all + clients, asked + subscriptions, count + 1));
        if cases > CASES && count % 500 == 0 {
            println!("{count} cases");
        }
        Ok(())
    });
    let (clients, subscriptions, _) = totals.get();
    println!("{cases} cases, {clients} clients, {subscriptions} requests at the upstreams");
    result.unwrap();
    // Else nobody ever shared, and there was nothing that could have leaked.
    assert!(subscriptions < clients as u64, "nobody shares");
}

/// The test itself is tried on a proxy that was told to leave out what decides.
#[test]
fn a_leak_is_found() {
    let visitor = |tenant| {
        let mut values = [0; Property::ALL.len()];
        values[Property::Custom as usize] = tenant;
        Visitor { values, comes_back: false, is_declared: true, is_late: tenant > 1 }
    };
    let visitors = vec![visitor(1), visitor(2)];
    let case = Case { depends_on: Property::Custom, varies_all: false, share: "same-credentials", visitors };
    assert!(run(&case, None).is_ok());
    let leak = run(&case, Some("--ignore-header=x-tenant")).unwrap_err();
    assert!(leak.contains("data: for custom1"), "{leak}");
}
