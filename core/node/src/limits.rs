//! Every bound and every wait of a node, with its reason.

use core::time::Duration;

/// Connections of programs: more than one user may have, and room for others. One or two descriptors each in the host, which
/// may have room for fewer.
pub const PROGRAMS_MAX: usize = 32_768;
/// Connections of programs of one ordinary user, if as many again are left for others.
pub const PROGRAMS_PER_USER: usize = 12_288;
/// One of so many connections of programs is kept for root and the node's owner, who may have to end something.
pub const PROGRAMS_RESERVE: usize = 32;
/// Endpoints of one process: the bits of a pid above Linux's 2^22.
pub const ENDPOINTS_PER_PROCESS: u32 = 1 << 10;
/// Prefixes of one program. The tree has room for a million: 10 000 programs with a hundred each.
pub const PREFIXES_PER_PROGRAM: usize = 4096;
/// Prefixes of one user who does not manage the node: a thirtieth of the tree.
pub const PREFIXES_PER_USER: usize = 32_768;
/// Sessions of one program.
pub const SESSIONS_PER_PROGRAM: usize = 16_384;
/// Doors at once: entrances for programs with a smaller view, each a socket of the host.
pub const DOORS_MAX: usize = 256;
/// Doors of one ordinary user, if as many again are left for others.
pub const DOORS_PER_USER: usize = 64;
/// Doors that are kept for root and the node's owner.
pub const DOORS_RESERVE: usize = 32;
/// News from other nodes that names have changed, at once. Each empties what the programs of this node know of names.
pub const NEWS_BURST: u32 = 8;
/// And each second from then on; what comes in between is told together.
pub const NEWS_PER_SECOND: u32 = 10;
/// Other nodes that a program with a smaller view can come to see.
pub const VIEW_NODES_MAX: usize = 4096;
/// Servers that such a program can come to know. As many as it may have sessions.
pub const VIEW_SERVERS_MAX: usize = SESSIONS_PER_PROGRAM;
/// Requests of one program that wait for another node or program.
pub const WAITING_PER_PROGRAM: usize = 256;
/// Introductions that wait for servers, from one other node.
pub const OFFERS_PER_PEER: usize = 1024;
/// Silent ways that one program may name at once: as many as there are in the node page.
pub const SUSPICIONS_BURST: u32 = abi::system::LANE_ROWS as u32;
/// And each second from then on. A way that is down stays so for longer, and the node looks by itself.
pub const SUSPICIONS_PER_SECOND: u32 = 32;
/// How long a server may think about an offer. A running library answers in microseconds.
pub const OFFER_WAIT: Duration = Duration::from_secs(5);
/// How long a request to another node may take, handshake included.
pub const ASK_WAIT: Duration = Duration::from_millis(1500);
/// How long an introduction by another node may take: its server's offer wait, and a way there and back.
pub const INTRODUCE_WAIT: Duration = Duration::from_millis(6500);
/// Requests for one node that wait for its handshake.
pub const ASKS_PER_PEER: usize = 1024;
/// Longest message between nodes in bytes; no larger one is read.
pub const PEER_MESSAGE_MAX: u64 = 64 * 1024;
/// After a restart, how long programs have to come back before their sessions are looked for.
pub const RETURN_GRACE: Duration = Duration::from_secs(3);
/// Sessions named in one message between nodes, or in one notice.
pub const SESSIONS_PER_MESSAGE: usize = 4096;
/// Rows of a table in one packet; the longest row is a path and its target, and those are cut by size.
pub const TABLE_BYTES_MAX: usize = 48 * 1024;
/// Entries of a directory in one packet, by size.
pub const LISTING_BYTES_MAX: usize = 48 * 1024;

/// First repetition of a handshake; doubles.
pub const HANDSHAKE_RETRY: Duration = Duration::from_millis(250);
/// How long a handshake is tried before the node counts as down.
pub const HANDSHAKE_WAIT: Duration = Duration::from_millis(1250);
/// First pause before a node with live sessions is tried again; doubles.
pub const RECONNECT_MIN: Duration = Duration::from_millis(500);
/// Longest pause.
pub const RECONNECT_MAX: Duration = Duration::from_secs(15);
/// Age at which a channel that is used gets new keys.
pub const REKEY_AFTER: Duration = Duration::from_secs(120);
/// Age at which a channel is not used any more.
pub const REJECT_AFTER: Duration = Duration::from_secs(180);
/// How long a replaced channel stays open for what is under way on it.
pub const REPLACED_GRACE: Duration = Duration::from_secs(7);
/// How long a channel may wait for its first packet from the initiator.
pub const UNCONFIRMED_MAX: Duration = Duration::from_secs(5);
/// Channels with one node at once: one in use, and a pair half made from both sides as often as handshakes may follow
/// each other while replaced ones last.
pub const CHANNELS_PER_PEER: usize = 12;
/// Earlier lives of another node's machine whose messages are known for replays.
pub const LIVES_MAX: usize = 8;
/// How often a node is asked whether it lives while programs have sessions with it.
pub const PING_EVERY: Duration = Duration::from_secs(1);
/// Silence after which an unanswered request makes the node try a new handshake beside the old channel.
pub const SILENCE: Duration = Duration::from_millis(400);
/// How long a ping may stay unanswered before programs are told to look themselves.
pub const PING_WAIT: Duration = Duration::from_millis(2500);

/// Handshakes per second above which a cookie is asked for.
pub const HANDSHAKES_PER_SECOND: u32 = 500;
/// Per source address, once it has shown a cookie: handshakes at once.
pub const SOURCE_BURST: u32 = 5;
/// Per source address: handshakes per second.
pub const SOURCE_PER_SECOND: u32 = 20;
/// Source addresses remembered under load.
pub const SOURCES_MAX: usize = 1024;
/// Life of the secret behind cookies.
pub const COOKIE_LIFE: Duration = Duration::from_secs(120);

/// Codes that are open or remembered as used or expired.
pub const INVITES_MAX: usize = 64;
/// Longest life of a code.
pub const INVITE_TTL_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long the record of a used or expired code is kept, so that its second use gets a clear answer.
pub const INVITE_MEMORY: Duration = Duration::from_secs(24 * 3600);
/// How long joining is tried.
pub const JOIN_WAIT: Duration = Duration::from_secs(4);
/// Repetition of a joining handshake.
pub const JOIN_RETRY: Duration = Duration::from_millis(500);
/// Joins of this node that are under way at once.
pub const JOINS_MAX: usize = 4;
/// Pause between two writings of what other nodes can change at will, such as their addresses.
pub const KEEP_EVERY: Duration = Duration::from_secs(1);
/// Nodes that can be trusted: the low 16 bits of a node descriptor, without this node's 0.
pub const PEERS_MAX: usize = 65_535;
/// Addresses kept per node.
pub const ADDRESSES_MAX: usize = 16;
/// Links of a node: the lane number in a packet has four bits.
pub const LINKS_MAX: usize = 16;
