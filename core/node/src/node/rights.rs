//! Rights: the node's rules, whom they were told, and what they decide here.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use ::rights::{Client, ClientRights, Operation, Rules};
use abi::system::{
    Because, Denied, Identity, NETWORK_PREFIX, NewRights, Notice, Reply, RightsLayer, RightsList,
    SessionRole, SetRights, Why,
};
use abi::{Credentials, Decode, Encode, Errno, Gid, Instant, Nd, NodeName, Pid, SessionId, Uid};

use paths::NodeComponent;

use super::Node;
use super::denials::{self, Denials};
use super::requests::{Call, Refused, plainly};
use crate::interface::{Attached, Level, ProgramKey};
use crate::limits::SESSIONS_PER_MESSAGE;

/// Clients whose part of the rules is kept ready.
const KNOWN_MAX: usize = 1024;

/// The rules of the node.
#[derive(Debug)]
pub(super) struct RightsKeeper {
    running: Rules,
    config: Rules,
    all: Rules,
    generation: u64,
    known: BTreeMap<(bool, NodeName, Uid), ClientRights>,
    pub(super) denials: Denials,
}

impl RightsKeeper {
    /// Changes whenever the rules do.
    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn new(running: Rules, config: Rules) -> Self {
        // The host has seen that they fit together.
        let all = running.followed_by(&config);
        let all = all.unwrap_or_else(|_| running.clone());
        Self {
            running,
            config,
            all,
            generation: 1,
            known: BTreeMap::new(),
            denials: Denials::default(),
        }
    }

    pub(super) const fn running(&self) -> &Rules {
        &self.running
    }

    fn of(&mut self, client: Client) -> &ClientRights {
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        let all = &self.all;
        self.known
            .entry((client.is_own, client.node, client.user))
            .or_insert_with(|| all.for_client(&client))
    }

    fn set(&mut self, layer: RightsLayer, rules: Rules) -> Result<(), Errno> {
        let all = match layer {
            RightsLayer::Running => rules.followed_by(&self.config)?,
            RightsLayer::Config => self.running.followed_by(&rules)?,
        };
        match layer {
            RightsLayer::Running => self.running = rules,
            RightsLayer::Config => self.config = rules,
        }
        self.all = all;
        self.generation += 1;
        self.known.clear();
        Ok(())
    }
}

impl Node {
    /// What a user of a node may do here.
    pub(super) fn rights_of(&mut self, node: u16, user: Uid) -> &ClientRights {
        let client = self.client(node, user);
        self.rights.of(client)
    }

    /// The same as it goes to a server.
    pub(super) fn rights_bytes(&mut self, node: u16, user: Uid) -> Vec<u8> {
        self.rights_of(node, user).to_bytes().unwrap_or_default()
    }

    /// Whether a user of a node may do something to a path of the node's own tables; a refusal is counted and logged.
    ///
    /// # Errors
    /// EACCES.
    pub(super) fn must_have_right(
        &mut self,
        now: Instant,
        (node, user): (u16, Uid),
        operation: Operation,
        path: &[u8],
    ) -> Result<(), Errno> {
        let rights = self.rights_of(node, user);
        let at = rights.below(b"/", path);
        let decision = rights.decision(&at, operation);
        if decision.is_allowed {
            return Ok(());
        }
        self.count_denial(now, (node, user), operation, path, (decision.rule, 1));
        Err(Errno::EACCES)
    }

    /// Whether a program may own or link a path: a rule says so, or it manages the node and no rule denies it.
    pub(super) fn may_change_names(
        &mut self,
        now: Instant,
        program: ProgramKey,
        operation: Operation,
        path: &[u8],
    ) -> Result<(), Refused> {
        let Some(known) = self.processes.programs.get(program) else {
            return Err(plainly(Errno::ESRCH));
        };
        let (user, manages) = (known.caller.uid, self.processes.may_manage(&known.caller));
        self.may_change(now, user, operation, path, manages)
    }

    /// Whether a program may give a channel a name: everybody may (P4), unless a rule denies it.
    pub(super) fn may_attach_name(
        &mut self,
        now: Instant,
        program: ProgramKey,
        path: &[u8],
    ) -> Result<(), Refused> {
        let user = self.user(program);
        self.may_change(now, user, Operation::Attach, path, true)
    }

    /// What the first fitting rule says, or `otherwise`.
    fn may_change(
        &mut self,
        now: Instant,
        user: Uid,
        operation: Operation,
        path: &[u8],
        otherwise: bool,
    ) -> Result<(), Refused> {
        let rights = self.rights_of(0, user);
        let at = rights.below(b"/", path);
        let decision = rights.decision(&at, operation);
        if decision.is_allowed || (decision.rule.is_none() && otherwise) {
            return Ok(());
        }
        self.count_denial(now, (0, user), operation, path, (decision.rule, 1));
        let text = match (decision.rule, operation) {
            (Some(rule), _) => format!("rule {} of the node's rights denies it", rule + 1),
            (None, Operation::Attach) => {
                String::from("only root and the owner of the node may attach a prefix")
            }
            (None, _) => String::from(
                "only root and the owner of the node may change names in the process manager",
            ),
        };
        Err((Errno::EPERM, text))
    }

    /// Whether a program of this node may ask this about names of this node. A smaller view has made the path whole,
    /// but for a resolution.
    pub(super) fn may_ask_names(
        &mut self,
        now: Instant,
        program: ProgramKey,
        request: &abi::system::Request,
    ) -> Result<(), Errno> {
        use abi::system::Request;
        let client = (0, self.user(program));
        match request {
            Request::Resolve(resolve) if resolve.nd.is_local() => {
                let root = self.root_of(program, resolve.nd);
                let path = ::rights::path::join(root.as_bytes(), &resolve.path);
                let path = path.as_ref().unwrap_or(&resolve.path);
                self.must_have_right(now, client, Operation::Look, path)
            }
            Request::List(list) if list.nd.is_local() => {
                self.must_have_right(now, client, Operation::List, &list.path)
            }
            Request::Stat(stat) if stat.nd.is_local() => {
                self.must_have_right(now, client, Operation::Look, &stat.path)
            }
            Request::Network(network) if network.nd.is_local() => {
                self.may_go_to(now, client, &network.path)
            }
            Request::Lookup(lookup) => self.may_reach(now, client, &lookup.node),
            _ => Ok(()),
        }
    }

    /// Whether a user may learn where the node is to which `path` below `/net` leads, and go on there. The link policy
    /// in it does not matter, nor does what follows: that is the other node's business.
    pub(super) fn may_go_to(
        &mut self,
        now: Instant,
        client: (u16, Uid),
        path: &[u8],
    ) -> Result<(), Errno> {
        let mut parts = path.split(|&byte| byte == b'/');
        let Some(component) = parts.find(|part| !part.is_empty()) else {
            return Ok(());
        };
        // What names no node leads nowhere, and is refused where it is looked for.
        match NodeComponent::parse(component) {
            Ok(component) => self.may_reach(now, client, &component.name),
            Err(_) => Ok(()),
        }
    }

    /// Whether a user may name another node from here.
    pub(super) fn may_reach(
        &mut self,
        now: Instant,
        client: (u16, Uid),
        node: &NodeName,
    ) -> Result<(), Errno> {
        let path = [NETWORK_PREFIX, "/", node.as_str()].concat();
        self.must_have_right(now, client, Operation::Look, path.as_bytes())
    }

    /// As [`Self::may_reach`], by the node's number: it can be had without asking for it.
    pub(super) fn may_reach_nd(
        &mut self,
        now: Instant,
        program: ProgramKey,
        nd: Nd,
    ) -> Result<(), Refused> {
        if nd.is_local() {
            return Ok(());
        }
        let (client, node) = ((0, self.user(program)), self.network.name_of(nd.node()));
        self.may_reach(now, client, &node).map_err(plainly)
    }

    /// Everything about rights that programs ask.
    pub(super) fn manage_rights(
        &mut self,
        now: Instant,
        call: Call,
        request: &abi::system::Request,
    ) -> Result<Option<Reply>, Refused> {
        use abi::system::Request;
        match request {
            Request::Rights => {
                self.must_manage(call.program, "read the rules")?;
                let bytes = |rules: &Rules| rules.to_bytes().unwrap_or_default();
                Ok(Some(Reply::Rights(RightsList {
                    generation: self.rights.generation,
                    running: bytes(&self.rights.running),
                    config: bytes(&self.rights.config),
                })))
            }
            Request::SetRights(set) => {
                self.must_manage(call.program, "change the rules")?;
                self.set_rights(now, call.program, set).map(Some)
            }
            Request::Why(why) => self.why(call.program, why).map(Some),
            Request::Denied(denied) => {
                self.denied_by_server(now, call.program, denied);
                Ok(None)
            }
            _ => Err(plainly(Errno::ENOSYS)),
        }
    }

    fn set_rights(
        &mut self,
        now: Instant,
        program: ProgramKey,
        set: &SetRights,
    ) -> Result<Reply, Refused> {
        if set.generation != self.rights.generation {
            let text = "somebody else has changed the rules meanwhile; look at them and try again";
            return Err((Errno::ESTALE, String::from(text)));
        }
        let rules = Rules::from_bytes(&set.rules);
        let rules = rules.map_err(|malformed| (malformed.into(), malformed.to_string()))?;
        let count = rules.list().len();
        self.rights.set(set.layer, rules).map_err(|errno| {
            let text = "too many rules: at most 512, and 32768 bytes of them";
            (errno, String::from(text))
        })?;
        if set.layer == RightsLayer::Running {
            self.keep(now, Some(program));
        }
        let user = self.processes.programs.get(program);
        let user = user.map_or(Uid(u32::MAX), |known| known.caller.uid);
        let layer = match set.layer {
            RightsLayer::Running => "changed while running",
            RightsLayer::Config => "of the config file",
        };
        let text = format!("user {} has set the rules {layer}: {count}", user.0);
        self.log(Level::Info, text);
        let servers = self.processes.sessions.iter();
        let servers = servers.filter(|session| session.role == SessionRole::Server);
        let servers: Vec<SessionId> = servers.map(|session| session.local).collect();
        self.tell_rights(&servers);
        Ok(Reply::Done)
    }

    /// Tells servers what the clients of these sessions may do from now on.
    pub(super) fn tell_rights(&mut self, sessions: &[SessionId]) {
        let mut alike: BTreeMap<(ProgramKey, u16, Uid), Vec<SessionId>> = BTreeMap::new();
        for session in sessions {
            let Some(session) = self.processes.sessions.get(*session) else {
                continue;
            };
            let key = (session.program, session.node, session.user);
            alike.entry(key).or_default().push(session.local);
        }
        for ((program, node, user), sessions) in alike {
            if self.processes.programs.get(program).is_none() {
                continue;
            }
            let rights = self.rights_bytes(node, user);
            for chunk in sessions.chunks(SESSIONS_PER_MESSAGE) {
                let notice = Notice::Rights(NewRights {
                    sessions: chunk.to_vec(),
                    rights: rights.clone(),
                });
                self.send(
                    program,
                    abi::system::UNSOLICITED,
                    &notice,
                    Attached::Nothing,
                );
            }
        }
    }

    /// Anybody may ask about himself, who manages the node about everybody.
    fn why(&mut self, program: ProgramKey, why: &Why) -> Result<Reply, Refused> {
        let node = if why.node == self.config.name {
            0
        } else {
            self.network
                .number_of_name(&why.node)
                .ok_or_else(|| self.unknown_node(&why.node))?
        };
        let caller = self.processes.programs.get(program);
        let own = caller.map(|known| known.caller.uid);
        if node != 0 || own != Some(why.user) {
            self.must_manage(program, "ask about other users")?;
        }
        let operation = Operation::from_number(why.operation);
        let operation = operation.ok_or_else(|| plainly(Errno::EINVAL))?;
        if !why.path.starts_with(b"/") {
            let text = String::from("expected an absolute path of this node");
            return Err((Errno::EINVAL, text));
        }
        let user = self.mapped(node, why.user);
        let rights = self.rights_of(node, why.user);
        let at = rights.below(b"/", &why.path);
        let decision = rights.decision(&at, operation);
        let identity = rights.identity(&at, operation).cloned();
        let (user, is_known) = user.map_or((why.user, false), |user| (user, true));
        let rule = decision.rule.map(usize::from);
        let rule = rule.and_then(|rule| self.rights.all.list().get(rule));
        let text = match (is_known, rule) {
            (false, _) => String::from("the node may not speak for this user (trust.toml)"),
            (true, Some(rule)) => rule.to_string(),
            (true, None) => String::new(),
        };
        let manages = node == 0 && (user == Uid::ROOT || user == self.config.owner);
        let by_default = manages && decision.rule.is_none();
        Ok(Reply::Because(Because {
            is_allowed: is_known && (decision.is_allowed || by_default),
            rule: decision.rule.filter(|_| is_known),
            text: text.into_bytes(),
            user,
            identity: identity.map(|identity| Identity {
                uid: identity.uid,
                gid: identity.gid,
                groups: identity.groups,
            }),
        }))
    }

    fn unknown_node(&self, name: &NodeName) -> Refused {
        (
            Errno::ENOENT,
            format!("no node is called {name}; see `slashnet nodes`"),
        )
    }

    /// Who the user of a node is here before any rule; `None` if the node may not speak for it.
    fn mapped(&self, node: u16, user: Uid) -> Option<Uid> {
        if node == 0 {
            return Some(user);
        }
        let theirs = Credentials::new(Nd::LOCAL, Pid(0), user, Gid(0));
        let mine = self.network.map_identity(node, &theirs);
        mine.ok().map(|mine| mine.uid)
    }

    fn denied_by_server(&mut self, now: Instant, program: ProgramKey, denied: &Denied) {
        let session = self.processes.sessions.get(denied.session);
        let session = session
            .filter(|session| session.program == program && session.role == SessionRole::Server);
        let operation = Operation::from_number(denied.operation);
        if let (Some(session), Some(operation)) = (session, operation) {
            let client = (session.node, session.user);
            let what = (denied.rule, denied.count.max(1));
            self.count_denial(now, client, operation, &denied.path, what);
        }
    }

    pub(super) fn count_denial(
        &mut self,
        now: Instant,
        (node, user): (u16, Uid),
        operation: Operation,
        path: &[u8],
        (rule, times): (Option<u16>, u32),
    ) {
        let refused = denials::Refused {
            node: self.client(node, user).node,
            user,
            operation,
            path: path.to_vec(),
        };
        if let Some(line) = self.rights.denials.count(now, refused, rule, times) {
            self.log(Level::Warn, line);
        }
    }

    fn client(&self, node: u16, user: Uid) -> Client {
        let is_own = node == 0;
        let node = if is_own {
            self.config.name
        } else {
            self.network.name_of(node)
        };
        Client { node, is_own, user }
    }
}
