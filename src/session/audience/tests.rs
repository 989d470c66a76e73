use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll, Wake};

use super::*;

#[derive(Default)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn sit(audience: &Audience, needed: Position) -> (Seat, Arc<Dismissal>) {
    audience.sit(needed, Arc::new(Visit::new()))
}

impl Counter {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn everyone_who_sleeps_is_woken_once() {
    let audience = Audience::new();
    let counter = Arc::new(Counter::default());
    let waker = Waker::from(Arc::clone(&counter));
    let seats: Vec<Seat> = (0..1_000).map(|_| sit(&audience, 0).0).collect();
    for seat in &seats {
        assert_eq!(audience.park(*seat, 1, &waker, || false), Parked::Asleep);
        assert_eq!(audience.park(*seat, 1, &waker, || false), Parked::Asleep, "looking twice counts once");
    }
    audience.leave(seats[7]);
    audience.wake().await;
    assert_eq!(counter.count(), 999);
    audience.wake().await;
    assert_eq!(counter.count(), 999, "no one sleeps now");
}

#[test]
fn whoever_sees_news_does_not_sleep() {
    let audience = Audience::new();
    let counter = Arc::new(Counter::default());
    let waker = Waker::from(Arc::clone(&counter));
    let (seat, _) = sit(&audience, 0);
    assert_eq!(audience.park(seat, 0, &waker, || true), Parked::News);
    audience.wake_now();
    assert_eq!(counter.count(), 0);
}

#[test]
fn a_farewell_wakes_one_client_and_waits_until_it_has_read_everything() {
    let audience = Audience::new();
    let counter = Arc::new(Counter::default());
    let waker = Waker::from(Arc::clone(&counter));
    let seats = [sit(&audience, 0).0, sit(&audience, 0).0];
    for seat in seats {
        audience.park(seat, 0, &waker, || false);
    }
    audience.say_farewell(seats[0], Duration::from_secs(3));
    assert_eq!(counter.count(), 1);
    assert_eq!(audience.park(seats[0], 0, &waker, || true), Parked::News, "first the news");
    assert_eq!(audience.park(seats[0], 1, &waker, || false), Parked::Farewell(Duration::from_secs(3)));
    assert_eq!(audience.seats().len(), 2);
}

#[test]
fn the_slowest_says_what_is_needed() {
    let audience = Audience::new();
    assert_eq!(audience.needed(), None);
    let (slow, quick) = (sit(&audience, 3).0, sit(&audience, 3).0);
    audience.moved(quick, 9);
    assert_eq!(audience.needed(), Some(3));
    audience.leave(slow);
    assert_eq!(audience.needed(), Some(9));
    let (again, _) = sit(&audience, 20);
    audience.moved(again, 21);
    assert_eq!(audience.needed(), Some(9), "a seat given anew is a new one");
}

#[test]
fn whoever_needs_what_is_gone_is_dismissed() {
    let audience = Audience::new();
    let counter = Arc::new(Counter::default());
    let waker = Waker::from(Arc::clone(&counter));
    let cx = Context::from_waker(&waker);
    let (slow, quick) = (sit(&audience, 3).1, sit(&audience, 9).1);
    assert_eq!(slow.poll_dismissed(&cx), Poll::Pending);
    audience.dismiss_behind(3);
    assert_eq!(counter.count(), 0, "what is at the floor is still there");
    audience.dismiss_behind(4);
    assert_eq!(counter.count(), 1);
    assert_eq!(slow.poll_dismissed(&cx), Poll::Ready(DismissReason::Slow));
    assert_eq!(quick.poll_dismissed(&cx), Poll::Pending);
}

#[test]
fn an_operator_sees_each_client_and_can_dismiss_one() {
    let audience = Audience::new();
    let counter = Arc::new(Counter::default());
    let waker = Waker::from(Arc::clone(&counter));
    let cx = Context::from_waker(&waker);
    let clients = [sit(&audience, 3), sit(&audience, 9)];
    let mut guests = audience.guests();
    guests.sort_by_key(|guest| guest.needed);
    assert!(audience.dismiss(guests[1].id, DismissReason::Operator));
    assert_eq!(clients[0].1.poll_dismissed(&cx), Poll::Pending);
    assert_eq!(clients[1].1.poll_dismissed(&cx), Poll::Ready(DismissReason::Operator));
    audience.leave(clients[1].0);
    assert!(!audience.dismiss(guests[1].id, DismissReason::Operator), "it is gone");
}

#[test]
fn a_pack_stands_for_its_members_and_wakes_for_all_of_them() {
    let audience = Audience::new();
    let (own, of_pack) = (Arc::new(Counter::default()), Arc::new(Counter::default()));
    let (waker, pack_waker) = (Waker::from(Arc::clone(&own)), Waker::from(Arc::clone(&of_pack)));
    let seats = [sit(&audience, 5).0, sit(&audience, 5).0];
    let pack = audience.sit_as_pack();
    assert_eq!(audience.needed(), Some(5), "a pack without members needs nothing");
    audience.park(seats[0], 5, &waker, || false);
    for seat in seats {
        assert!(audience.enter_pack(seat, pack, 5));
    }
    assert_eq!(audience.needed(), Some(5), "now it needs what they need");
    assert!(!audience.park_pack(pack, 5, &pack_waker, || true), "something came meanwhile");
    assert!(audience.park_pack(pack, 5, &pack_waker, || false));
    audience.wake_now();
    assert_eq!((own.count(), of_pack.count()), (0, 1), "the members sleep on");
    audience.leave_pack(seats[1], 6);
    audience.pack_moved(pack, 9);
    assert_eq!((audience.needed(), audience.needed_by_packs()), (Some(6), Some(9)));
    let mut places: Vec<Position> = audience.guests().iter().map(|guest| guest.needed).collect();
    places.sort_unstable();
    assert_eq!(places, [6, 9], "a member stands where its pack does");
}

#[test]
fn a_member_that_is_to_leave_is_told_itself_and_enters_no_pack_again() {
    let audience = Audience::new();
    let counter = Arc::new(Counter::default());
    let waker = Waker::from(Arc::clone(&counter));
    let (seat, dismissal) = sit(&audience, 5);
    let pack = audience.sit_as_pack();
    assert!(audience.enter_pack(seat, pack, 5));
    assert_eq!(dismissal.poll_dismissed(&Context::from_waker(&waker)), Poll::Pending);
    audience.say_farewell(seat, Duration::from_secs(3));
    assert_eq!(counter.count(), 1);
    audience.leave_pack(seat, 5);
    assert!(!audience.enter_pack(seat, pack, 5));
    assert_eq!(audience.park(seat, 5, &waker, || false), Parked::Farewell(Duration::from_secs(3)));
}

#[test]
fn who_left_the_list_without_being_woken_is_not_listed_twice() {
    let audience = Audience::new();
    let counter = Arc::new(Counter::default());
    let waker = Waker::from(Arc::clone(&counter));
    let (seat, pack) = (sit(&audience, 5).0, audience.sit_as_pack());
    for _ in 0..3 {
        assert_eq!(audience.park(seat, 5, &waker, || false), Parked::Asleep);
        assert!(audience.enter_pack(seat, pack, 5));
        audience.leave_pack(seat, 5);
    }
    assert_eq!(audience.shards.iter().map(|shard| shard.lock().waiting.len()).sum::<usize>(), 1);
    audience.leave(seat);
    assert_eq!(audience.shards.iter().map(|shard| shard.lock().waiting.len()).sum::<usize>(), 0);
}

#[test]
fn what_is_needed_is_never_past_a_client_that_enters_or_leaves_its_pack() {
    const CLIENTS: usize = 4;
    const PASSES: u64 = 200_000;
    let audience = Audience::new();
    let places = [const { AtomicU64::new(0) }; CLIENTS];
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let seats = [(); CLIENTS].map(|()| sit(&audience, 0).0);
            let pack = audience.sit_as_pack();
            let mut members = [false; CLIENTS];
            for head in 0..PASSES {
                for (index, seat) in seats.iter().enumerate() {
                    match (members[index], (head as usize + index) % 3) {
                        // It takes nothing of this pass, and stays where it was.
                        (true, 0) => {
                            audience.leave_pack(*seat, places[index].load(Ordering::SeqCst));
                            members[index] = false;
                        }
                        (true, _) => {}
                        // It has caught up, and stands where the pack will.
                        (false, _) => {
                            places[index].store(head, Ordering::SeqCst);
                            audience.moved(*seat, head);
                            members[index] = audience.enter_pack(*seat, pack, head);
                        }
                    }
                }
                for index in (0..CLIENTS).filter(|&index| members[index]) {
                    places[index].store(head, Ordering::SeqCst);
                }
                let is_empty = members.iter().all(|is_member| !is_member);
                audience.pack_moved(pack, if is_empty { NOTHING_NEEDED } else { head });
            }
            is_over.store(true, Ordering::SeqCst);
        });
        let mut looks: u64 = 0;
        while !is_over.load(Ordering::SeqCst) || looks == 0 {
            let needed = audience.needed();
            // Places only grow: a client that stands before what is needed now stood there all the time.
            for (index, place) in places.iter().enumerate() {
                let place = place.load(Ordering::SeqCst);
                assert!(needed.is_none_or(|needed| needed <= place), "client {index} at {place}: {needed:?}");
            }
            looks += 1;
        }
    });
}
