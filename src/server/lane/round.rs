//! One loop: a task that goes round among its clients, and writes to those for whom there is something.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write as _};
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use slab::Slab;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::bell::Bell;
use super::client::{Advanced, Client, Ended};
use super::group::{Group, Standing};
use super::inbox::{Inbox, Name, Slot};
use super::poller::{Happened, Poller};
use crate::server::connection::linger;
use crate::session::{Looked, Pack};
use crate::shutdown::Shutdown;

/// Members of packs that are written to before other tasks get their turn: a few milliseconds' work.
const WRITES_PER_TURN: usize = 256;

/// As [`WRITES_PER_TURN`], where newcomers have come since the last turn: they are let in first, since each event that is sent to
/// those who are here meanwhile delays them, and events that come closer together than a pass takes are sent in one piece.
const WRITES_PER_TURN_IN_A_CROWD: usize = 32;

/// Clients apart that are looked after before other tasks get their turn. Each may take several writes.
const CLIENTS_PER_TURN: usize = 64;

/// Clients that are taken in before other tasks get their turn.
const ARRIVALS_PER_TURN: usize = 256;

/// The clock is read, and deliveries are counted, once for so many members.
const MEMBERS_PER_NOTE: u64 = 16;

/// What a loop owns.
#[derive(Debug)]
pub(super) struct Round {
    arrivals: mpsc::Receiver<Client>,
    /// Nobody new comes.
    is_closed: bool,
    bell: Arc<Bell>,
    inbox: Arc<Inbox>,
    poller: Poller,
    clients: Slab<Resident>,
    groups: Slab<Group>,
    /// The group of each session, by the session's number.
    by_session: HashMap<u64, u32>,
    /// Groups in the midst of a pass, each once.
    passing: VecDeque<Slot>,
    /// Clients that have more to do, each once.
    ready: VecDeque<Slot>,
    /// Connections whose last answer is being read.
    lingering: JoinSet<()>,
    shutdown: Shutdown,
    generation: u32,
    /// Kept for their memory.
    woken: Vec<Name>,
    happened: Vec<Happened>,
}

/// How a turn of a loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// There is nothing more to do until something happens.
    Done,
    /// There is more to do.
    Unfinished,
    /// Nobody comes any more, and all have left.
    Over,
}

#[derive(Debug)]
struct Resident {
    client: Client,
    generation: u32,
    waker: Waker,
    group: u32,
    standing: Standing,
    /// It is among those that have more to do.
    is_ready: bool,
}

impl Round {
    pub(super) fn new(arrivals: mpsc::Receiver<Client>, shutdown: Shutdown) -> io::Result<Self> {
        let bell = Arc::new(Bell::default());
        let inbox = Inbox::new(Waker::from(Arc::clone(&bell)));
        Ok(Self {
            arrivals,
            is_closed: false,
            bell,
            inbox,
            poller: Poller::new()?,
            clients: Slab::new(),
            groups: Slab::new(),
            by_session: HashMap::new(),
            passing: VecDeque::new(),
            ready: VecDeque::new(),
            lingering: JoinSet::new(),
            shutdown,
            generation: 0,
            woken: Vec::new(),
            happened: Vec::new(),
        })
    }

    /// Serves until nobody comes any more and all have left.
    pub(super) async fn run(mut self) {
        let bell = Arc::clone(&self.bell);
        let ringer = Waker::from(Arc::clone(&bell));
        std::future::poll_fn(|cx| {
            let has_rung = bell.begin();
            let turn = self.turn(&mut Context::from_waker(&ringer));
            if turn == Turn::Over {
                return Poll::Ready(());
            }
            // Sleeps only after a turn for nothing: what rang may be followed by more.
            bell.end(has_rung || turn == Turn::Unfinished, cx);
            Poll::Pending
        })
        .await;
    }

    /// Looks after all who have something to be done for them, for a while.
    fn turn(&mut self, cx: &mut Context<'_>) -> Turn {
        self.look_after_woken();
        self.look_after_sockets(cx);
        let arrived = self.receive(cx);
        for _ in 0..CLIENTS_PER_TURN.min(self.ready.len()) {
            let Some(slot) = self.ready.pop_front() else { break };
            if let Some(resident) = self.clients.get_mut(slot.index as usize)
                && resident.generation == slot.generation
            {
                resident.is_ready = false;
                self.advance(slot.index);
            }
        }
        let mut writes_left = if arrived > 0 { WRITES_PER_TURN_IN_A_CROWD } else { WRITES_PER_TURN };
        while writes_left > 0
            && let Some(slot) = self.passing.pop_front()
        {
            self.pass(slot, &mut writes_left);
        }
        while let Poll::Ready(Some(ended)) = self.lingering.poll_join_next(cx) {
            if let Err(error) = ended {
                tracing::error!(%error, "the end of a client's connection failed");
            }
        }
        if arrived == ARRIVALS_PER_TURN || !self.passing.is_empty() || !self.ready.is_empty() {
            Turn::Unfinished
        } else if self.is_closed && self.clients.is_empty() && self.lingering.is_empty() {
            Turn::Over
        } else {
            Turn::Done
        }
    }

    fn look_after_woken(&mut self) {
        let mut woken = mem::take(&mut self.woken);
        self.inbox.take(&mut woken);
        // Packs first: a client apart that then reads as far can join at once.
        for name in &woken {
            if let Name::Group(slot) = name
                && self
                    .groups
                    .get(slot.index as usize)
                    .is_some_and(|group| group.generation == slot.generation)
            {
                self.look(slot.index);
            }
        }
        for name in &woken {
            if let Name::Client(slot) = name
                && self
                    .clients
                    .get(slot.index as usize)
                    .is_some_and(|resident| resident.generation == slot.generation)
            {
                self.look_after(slot.index);
            }
        }
        self.woken = woken;
    }

    fn look_after_sockets(&mut self, cx: &mut Context<'_>) {
        let mut happened = mem::take(&mut self.happened);
        loop {
            match self.poller.poll_happened(cx, &mut happened) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    // Nothing that an epoll instance of ours can answer, short of a broken kernel.
                    tracing::error!(%error, "a loop can't watch its clients");
                    break;
                }
            }
            for &Happened { slot, is_readable, is_writable } in &happened {
                let Some(resident) = self.clients.get_mut(slot.index as usize) else { continue };
                if resident.generation != slot.generation {
                    continue;
                }
                if is_readable && let Some(gone) = resident.client.read_stray() {
                    self.end(slot.index, Ended::Gone(gone));
                } else if is_writable && mem::take(&mut resident.client.is_blocked) {
                    self.advance(slot.index);
                }
            }
        }
        self.happened = happened;
    }

    /// Takes in who has come; answers how many.
    fn receive(&mut self, cx: &mut Context<'_>) -> usize {
        if self.is_closed {
            return 0;
        }
        for arrived in 0..ARRIVALS_PER_TURN {
            match self.arrivals.poll_recv(cx) {
                Poll::Ready(Some(client)) => self.take_in(client),
                Poll::Ready(None) => {
                    self.is_closed = true;
                    return arrived;
                }
                Poll::Pending => return arrived,
            }
        }
        ARRIVALS_PER_TURN
    }

    fn take_in(&mut self, client: Client) {
        self.generation = self.generation.wrapping_add(1);
        let entry = self.clients.vacant_entry();
        // No machine has so many sockets.
        let Ok(index) = u32::try_from(entry.key()) else { return };
        let slot = Slot { index, generation: self.generation };
        if let Err(error) = self.poller.watch(&client.socket.stream, slot) {
            tracing::warn!(peer = %client.peer, %error, "client closed: its socket can't be watched");
            return;
        }
        let waker = self.inbox.waker(Name::Client(slot));
        let session = client.reader.session();
        let groups = &mut self.groups;
        let group = *self.by_session.entry(session.id()).or_insert_with(|| {
            let entry = groups.vacant_entry();
            // There are no more groups than clients.
            let slot = Slot { index: entry.key() as u32, generation: slot.generation };
            entry.insert(Group::new(Pack::new(session), self.inbox.waker(Name::Group(slot)), slot));
            slot.index
        });
        let standing = groups[group as usize].add_apart(index);
        entry.insert(Resident {
            client,
            generation: slot.generation,
            waker,
            group,
            standing,
            is_ready: false,
        });
        self.look_after(index);
    }

    /// A client was woken: it is to go, to leave its pack, or to go on.
    fn look_after(&mut self, index: u32) {
        let resident = &mut self.clients[index as usize];
        let dismissed =
            resident.client.reader.dismissal().poll_dismissed(&Context::from_waker(&resident.waker));
        if let Poll::Ready(reason) = dismissed {
            return self.end(index, Ended::Gone(crate::server::io::Gone::Dismissed(reason)));
        }
        match resident.standing {
            Standing::Apart(_) => self.advance(index),
            Standing::Member(_) if resident.client.reader.is_to_leave() => {
                self.stand_apart(index);
                self.advance(index);
            }
            // Woken as it entered.
            Standing::Member(_) => {}
        }
    }

    /// Lets a client that stands apart read and write by itself.
    fn advance(&mut self, index: u32) {
        let resident = &mut self.clients[index as usize];
        if let Standing::Member(_) = resident.standing {
            return;
        }
        let mut cx = Context::from_waker(&resident.waker);
        match resident.client.advance(&mut cx) {
            Advanced::Waits => {}
            Advanced::More => self.get_ready(index),
            Advanced::Ended(ended) => self.end(index, ended),
            Advanced::UpToDate => {
                if self.groups[resident.group as usize].pack.take_in(&mut resident.client.reader) {
                    self.stand_in_pack(index);
                } else if !resident.client.rests(&cx) {
                    self.get_ready(index);
                }
            }
        }
    }

    fn get_ready(&mut self, index: u32) {
        let resident = &mut self.clients[index as usize];
        if !mem::replace(&mut resident.is_ready, true) {
            self.ready.push_back(Slot { index, generation: resident.generation });
        }
    }

    /// Moves a client that its pack took in from one list to the other.
    fn stand_in_pack(&mut self, index: u32) {
        let group = self.clients[index as usize].group;
        self.unlist(index);
        let list = &mut self.groups[group as usize];
        self.clients[index as usize].standing = list.add_member(index);
        // The first one tells where the pack stands.
        if !list.is_passing && list.members.len() == 1 {
            self.look(group);
        }
    }

    /// Takes a member out of its pack.
    fn stand_apart(&mut self, index: u32) {
        let resident = &mut self.clients[index as usize];
        let group = resident.group;
        self.groups[group as usize].pack.let_go(&mut resident.client.reader);
        self.unlist(index);
        self.clients[index as usize].standing = self.groups[group as usize].add_apart(index);
    }

    fn unlist(&mut self, index: u32) {
        let Resident { group, standing, .. } = self.clients[index as usize];
        if let Some(moved) = self.groups[group as usize].remove(standing) {
            self.clients[moved as usize].standing = standing;
        }
    }

    /// Looks for what comes next for a pack.
    fn look(&mut self, index: u32) {
        let group = &mut self.groups[index as usize];
        if group.is_passing {
            return; // It looks when that pass is over.
        }
        match group.pack.poll_look(&group.waker) {
            Poll::Pending => {}
            Poll::Ready(Looked::Scatter) => {
                while let Some(&member) = self.groups[index as usize].members.last() {
                    self.stand_apart(member);
                    self.get_ready(member);
                }
            }
            Poll::Ready(Looked::Pass) => {
                group.is_passing = true;
                group.left = group.members.len();
                self.passing.push_back(Slot { index, generation: group.generation });
                self.gather(index);
            }
        }
    }

    /// Takes in who has read as far by itself as the pass that begins will bring the pack.
    fn gather(&mut self, index: u32) {
        for place in (0..self.groups[index as usize].apart.len()).rev() {
            let group = &mut self.groups[index as usize];
            let Some(&apart) = group.apart.get(place) else { continue };
            let client = &mut self.clients[apart as usize].client;
            if client.is_idle() && group.pack.take_in(&mut client.reader) {
                self.stand_in_pack(apart);
            }
        }
    }

    /// Goes on with a pass, for so many writes.
    fn pass(&mut self, slot: Slot, writes_left: &mut usize) {
        let Some(group) = self.groups.get_mut(slot.index as usize) else { return };
        if group.generation != slot.generation {
            return;
        }
        let mut given = 0;
        while *writes_left > 0 {
            let group = &mut self.groups[slot.index as usize];
            let Some(left) = group.left.checked_sub(1) else { break };
            group.left = left;
            let index = group.members[left];
            let client = &mut self.clients[index as usize].client;
            let Some(piece) = group.pack.piece_for(&client.reader) else { continue };
            *writes_left -= 1;
            let ended = match (&client.socket.stream).write(piece) {
                Ok(written) => match group.pack.gave(&mut client.reader, written) {
                    None => {
                        given += 1;
                        if given == MEMBERS_PER_NOTE {
                            group.pack.note_given(mem::take(&mut given));
                        }
                        continue;
                    }
                    Some(rest) => {
                        client.rest = rest;
                        None
                    }
                },
                Err(error) => client.failed(error),
            };
            // It has not taken all: from here on it reads by itself.
            match ended {
                Some(gone) => {
                    self.end(index, Ended::Gone(gone));
                    if !self.groups.contains(slot.index as usize) {
                        return; // It was the last.
                    }
                }
                None => {
                    self.stand_apart(index);
                    self.get_ready(index);
                }
            }
        }
        let group = &mut self.groups[slot.index as usize];
        if given > 0 {
            group.pack.note_given(given);
        }
        if group.left > 0 {
            self.passing.push_back(slot);
            return;
        }
        group.pack.end_pass();
        group.is_passing = false;
        self.look(slot.index);
    }

    /// A client's end.
    fn end(&mut self, index: u32, ended: Ended) {
        let resident = &mut self.clients[index as usize];
        let group = resident.group;
        if let Standing::Member(_) = resident.standing {
            self.groups[group as usize].pack.let_go(&mut resident.client.reader);
        }
        self.unlist(index);
        let Resident { client, .. } = self.clients.remove(index as usize);
        if self.groups[group as usize].is_empty() {
            self.groups.remove(group as usize);
            self.by_session.remove(&client.reader.session().id());
        }
        let Client { socket, peer, reader, .. } = client;
        match ended {
            Ended::Gone(gone) => gone.log(peer),
            Ended::Slow => {
                let session = reader.session().name();
                tracing::info!(session, reason = "slow", "client closed: too far behind");
            }
            Ended::Finished => {
                drop(reader); // It leaves its session now.
                let shutdown = self.shutdown.clone();
                self.lingering.spawn(async move {
                    match socket.into_tokio() {
                        Ok(socket) => linger(&socket.stream, &shutdown).await,
                        Err(error) => tracing::debug!(%peer, %error, "client closed without lingering"),
                    }
                });
            }
        }
    }
}
