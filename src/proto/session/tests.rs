use super::*;

const STREAM: Answer = Answer { status: 200, is_event_stream: true, retry_after: None };

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn settings() -> SessionSettings {
    SessionSettings {
        backoff: BackoffLimits { initial: secs(1), max: secs(30) },
        give_up: secs(300),
        linger: secs(60),
        heartbeat: secs(15),
        upstream_idle_timeout: None,
        on_end_close: false,
    }
}

/// A session and a clock that the test moves.
struct Story {
    session: SessionMachine,
    now: Instant,
}

impl Story {
    fn new(settings: SessionSettings) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "an instant can't be made from nothing; only differences matter"
        )]
        let now = Instant::now();
        Self { session: SessionMachine::new(settings, Random::new(1), now), now }
    }

    fn live(settings: SessionSettings) -> Self {
        let mut story = Self::new(settings);
        assert_eq!(story.on(Input::Answered(STREAM)), [Effect::Open, Effect::Report(Report::Live)]);
        story
    }

    fn on(&mut self, input: Input) -> Vec<Effect> {
        self.session.handle(input, self.now)
    }

    fn answered(&mut self, status: u16) -> Vec<Effect> {
        self.on(Input::Answered(Answer { status, is_event_stream: false, retry_after: None }))
    }

    fn broken_off(&mut self) -> Vec<Effect> {
        self.on(Input::StreamEnded { is_clean: false, is_announced: false })
    }

    /// Lets time pass to the next deadline and answers what it brought, and how long it took.
    fn next(&mut self) -> (Duration, Vec<Effect>) {
        let deadline = self.session.next_deadline().unwrap().max(self.now);
        let passed = deadline - self.now;
        self.now = deadline;
        (passed, self.on(Input::Tick))
    }

    /// The same until something else than a heartbeat comes.
    fn next_but_heartbeats(&mut self) -> (Duration, Vec<Effect>) {
        let mut passed = Duration::ZERO;
        loop {
            let (step, mut effects) = self.next();
            passed += step;
            effects.retain(|effect| *effect != Effect::Heartbeat);
            if !effects.is_empty() {
                return (passed, effects);
            }
        }
    }
}

fn is_connecting(effects: &[Effect]) -> bool {
    effects.contains(&Effect::Connect)
}

#[test]
fn failing_attempts_come_at_doubling_intervals_until_given_up() {
    let mut story = Story::new(settings());
    story.on(Input::Failed);
    let mut limit = 1_000;
    let started = story.now;
    for attempt in 0.. {
        let (passed, effects) = story.next_but_heartbeats();
        if effects.contains(&Effect::End(EndReason::GivenUp)) {
            assert_eq!(story.now - started, secs(300));
            assert!((10..=25).contains(&attempt), "{attempt} attempts in five minutes");
            break;
        }
        assert!(is_connecting(&effects));
        assert!(passed >= millis(limit / 2) && passed <= millis(limit), "{passed:?} of {limit}");
        limit = (limit * 2).min(30_000);
        story.on(Input::Failed);
    }
    assert!(story.session.has_ended());
    assert_eq!(story.session.next_deadline(), None);
}

#[test]
fn an_upstream_that_accepts_and_at_once_drops_is_not_hammered() {
    let mut story = Story::live(settings());
    let mut waited = Vec::new();
    for _ in 0..8 {
        story.broken_off();
        waited.push(story.next_but_heartbeats().0);
        story.on(Input::Answered(STREAM));
    }
    assert!(waited[7] >= secs(15), "{waited:?}");
}

#[test]
fn an_event_or_a_long_stream_forgets_the_failures() {
    let mut story = Story::live(settings());
    for _ in 0..6 {
        story.broken_off();
        story.next_but_heartbeats();
        story.on(Input::Answered(STREAM));
    }
    story.on(Input::Received { has_event: true });
    story.broken_off();
    assert!(story.next_but_heartbeats().0 <= secs(1), "an event");

    for _ in 0..6 {
        story.on(Input::Answered(STREAM));
        story.broken_off();
        story.next_but_heartbeats();
    }
    story.on(Input::Answered(STREAM));
    let opened = story.now;
    while story.now - opened < secs(30) {
        story.next();
    }
    story.broken_off();
    assert!(story.next_but_heartbeats().0 <= secs(1), "open for as long as the last wait");
}

#[test]
fn the_upstreams_own_wish_is_respected_up_to_an_hour() {
    let mut story = Story::live(settings());
    story.on(Input::Retry(secs(10)));
    story.broken_off();
    assert_eq!(story.next_but_heartbeats().0, secs(10));
    story.on(Input::Answered(Answer { status: 503, is_event_stream: false, retry_after: Some(secs(40)) }));
    assert_eq!(story.next_but_heartbeats().0, secs(40));

    let mut story = Story::live(SessionSettings { give_up: secs(100_000), ..settings() });
    story.on(Input::Retry(Duration::MAX));
    story.broken_off();
    assert_eq!(story.next_but_heartbeats().0, ASKED_WAIT_MAX);
}

#[test]
fn good_news_shorten_the_wait_but_hammer_nobody() {
    let mut story = Story::new(settings());
    for _ in 0..5 {
        story.on(Input::Failed);
        story.next_but_heartbeats();
    }
    story.now += secs(3);
    story.on(Input::Failed);
    assert!(is_connecting(&story.on(Input::GoodNews)), "the last attempt was three seconds ago");
    story.on(Input::Failed);
    assert!(!is_connecting(&story.on(Input::GoodNews)), "this one was just now");
    assert_eq!(story.next_but_heartbeats().0, secs(1));

    story.on(Input::Answered(Answer { status: 503, is_event_stream: false, retry_after: Some(secs(20)) }));
    story.now += secs(5);
    assert!(!is_connecting(&story.on(Input::GoodNews)), "it asked for twenty seconds");
    assert_eq!(story.next_but_heartbeats().0, secs(15));
}

#[test]
fn a_first_answer_that_is_no_stream_belongs_to_the_client() {
    for status in [200, 204, 301, 401, 404, 429, 500] {
        let mut story = Story::new(settings());
        let effects = story.answered(status);
        let ended = Effect::End(EndReason::Refused(status));
        assert_eq!(effects, [Effect::HandOver, Effect::Disconnect, ended], "{status}");
    }
}

#[test]
fn an_upstream_that_is_down_is_waited_for() {
    for status in [502, 503, 504] {
        let mut story = Story::new(settings());
        assert!(!story.answered(status).contains(&Effect::HandOver), "{status}");
        assert!(story.session.is_waiting());
    }
}

#[test]
fn after_the_first_stream_only_final_answers_end_the_session() {
    for (status, ends) in
        [(204, true), (404, true), (410, true), (401, true), (408, false), (425, false), (429, false)]
            .into_iter()
            .chain([(200, false), (302, false), (500, false), (503, false)])
    {
        let mut story = Story::live(settings());
        story.broken_off();
        story.next_but_heartbeats();
        let effects = story.answered(status);
        assert_eq!(effects.contains(&Effect::End(EndReason::Refused(status))), ends, "{status}");
        assert_eq!(story.session.is_waiting(), !ends, "{status}");
    }
}

#[test]
fn a_clean_end_is_final_only_if_announced_or_so_configured() {
    let clean = |is_announced| Input::StreamEnded { is_clean: true, is_announced };
    let mut story = Story::live(settings());
    assert!(!story.on(clean(false)).contains(&Effect::End(EndReason::Finished)));
    let mut story = Story::live(settings());
    assert!(story.on(clean(true)).contains(&Effect::End(EndReason::Finished)));
    let mut story = Story::live(SessionSettings { on_end_close: true, ..settings() });
    assert!(story.on(clean(false)).contains(&Effect::End(EndReason::Finished)));
    let mut story = Story::live(SessionSettings { on_end_close: true, ..settings() });
    assert!(!story.broken_off().contains(&Effect::End(EndReason::Finished)), "broken off");
}

#[test]
fn a_session_lingers_after_its_last_client() {
    let mut story = Story::live(settings());
    story.on(Input::Clients(0));
    story.now += secs(59);
    assert_eq!(story.on(Input::Tick), []);
    story.on(Input::Clients(1));
    story.now += secs(5);
    story.on(Input::Clients(0));
    let mut passed = Duration::ZERO;
    loop {
        let (step, effects) = story.next();
        passed += step;
        if effects == [Effect::EndIfAlone] {
            break;
        }
        assert_eq!(effects, [], "no heartbeats to nobody");
    }
    assert_eq!(passed, secs(60), "counted from the last one who left");
    assert!(!story.session.has_ended(), "somebody may have come in this moment");
    story.on(Input::Clients(1));
    assert!(story.session.is_live());
}

#[test]
fn nothing_is_asked_of_the_upstream_that_nobody_wants() {
    let mut story = Story::live(settings());
    story.on(Input::Clients(0));
    story.broken_off();
    let (passed, effects) = story.next();
    assert_eq!((passed, effects), (secs(60), vec![Effect::EndIfAlone]), "no attempt before");

    let mut story = Story::live(settings());
    story.broken_off();
    story.on(Input::Clients(0));
    story.now += secs(20);
    assert_eq!(story.on(Input::GoodNews), []);
    assert!(is_connecting(&story.on(Input::Clients(1))), "the wait is long over");
}

#[test]
fn heartbeats_fill_silence_only() {
    let mut story = Story::live(settings());
    story.now += secs(10);
    story.on(Input::Sent);
    story.now += secs(14);
    assert!(!story.on(Input::Tick).contains(&Effect::Heartbeat));
    story.now += secs(1);
    assert!(story.on(Input::Tick).contains(&Effect::Heartbeat));
    story.now += secs(40);
    let beats = story.on(Input::Tick).iter().filter(|effect| **effect == Effect::Heartbeat).count();
    assert_eq!(beats, 1, "a late call does not make up for missed beats");
}

#[test]
fn held_clients_get_heartbeats_while_the_upstream_is_away() {
    let mut story = Story::new(settings());
    story.on(Input::Failed);
    let mut beats = 0;
    while story.session.next_deadline().is_some() {
        let (_, effects) = story.next();
        beats += effects.iter().filter(|effect| **effect == Effect::Heartbeat).count();
        if is_connecting(&effects) {
            story.on(Input::Failed);
        }
    }
    assert!(beats >= 19, "{beats} in five minutes");
}

#[test]
fn a_silent_upstream_counts_as_dead_where_that_is_wanted() {
    let mut story = Story::live(SessionSettings { upstream_idle_timeout: Some(secs(20)), ..settings() });
    story.now += secs(19);
    story.on(Input::Received { has_event: false });
    story.now += secs(19);
    assert!(!story.on(Input::Tick).contains(&Effect::Disconnect));
    story.now += secs(1);
    assert!(story.on(Input::Tick).contains(&Effect::Disconnect));
    assert!(story.session.is_waiting());
}

#[test]
fn the_breaker_can_put_an_attempt_off() {
    let mut story = Story::live(settings());
    story.broken_off();
    story.next_but_heartbeats();
    let until = story.now + secs(7);
    story.on(Input::NotAdmitted { until });
    assert_eq!(story.next_but_heartbeats().0, secs(7));
}

#[test]
fn deadlines_always_move_on() {
    let mut story = Story::live(SessionSettings { upstream_idle_timeout: Some(secs(20)), ..settings() });
    for _ in 0..10_000 {
        let before = story.now;
        let (passed, effects) = story.next();
        if is_connecting(&effects) {
            story.on(Input::Answered(STREAM));
        }
        assert!(
            passed > Duration::ZERO || !effects.is_empty() || story.now > before || {
                story.session.next_deadline().is_some_and(|deadline| deadline > story.now)
            }
        );
    }
}
