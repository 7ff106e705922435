//! What stands below the help: examples, and what they need explained.

pub(super) const SERIAL_SYNTAX: &str = "DEVICE=PATH[,OPTION...]";
pub(super) const EXPORT_SYNTAX: &str = "DIRECTORY=PATH[,ro]";

pub(super) const FIRST_STEPS: &str = "\
First steps:
  slashnet demo                        everything on this one machine
  lab1# slashnet up                    this machine is a node; /net is mounted
  lab2# slashnet up --serial /dev/ttyUSB0=/dev/ser1,mode=666 --export /srv=/srv
  lab1# slashnet invite                prints a code that is good once
  lab2# slashnet join CODE             the two machines trust each other
  lab1$ ls /net/lab2/srv; echo ATZ > /net/lab2/dev/ser1

Exit status: 0 done, 1 failed, 2 used wrongly. More in slashnet(7).";

pub(super) const UP_EXAMPLES: &str = "\
Examples:
  slashnet up --link eth0 --link wlan0
  slashnet up --link eth0,mtu=9000 --link ethernet:eth1 --detect fast
  slashnet up --serial /dev/ttyUSB0=/dev/ser1,115200 --export /srv=/srv,ro
  slashnet up --config /etc/slashnet.toml --detach

A link is an interface, an address, an interface for bare frames
(ethernet:eth1), or a directory that nodes of one machine share
(memory:/run/lab).
Link options: mtu=BYTES, speed=BITS such as 1G, trusted, cipher=on|off,
crc=on|off, ack=on|off. A link that is not there yet is used when it comes.

Serial options: BAUD, FRAME such as 8n1, rtscts, xonxoff, noflow, mode=OCTAL,
share=, replug= ('slashnet serve serial --help').

The parts run as child processes and are restarted if they end. 'slashnet down'
unmounts and stops them, as SIGINT, SIGTERM and SIGHUP do.";

pub(super) const STATUS_EXAMPLES: &str = "\
Exit status: 0 a node runs, 3 none does.

Examples:
  slashnet status || slashnet up --detach";

pub(super) const NODE_EXAMPLES: &str = "\
Examples:
  slashnet node --name lab1 --link 127.77.0.1 --dir /tmp/lab1";

pub(super) const MOUNT_EXAMPLES: &str = "\
Examples:
  slashnet mount ~/net
  fusermount3 -u ~/net        ends it, as Ctrl-C does";

pub(super) const LINKS_EXAMPLES: &str = "\
One row for each link, one more for each way to a peer over it. SINCE is how
long it has been in its state, SENT and RECEIVED are bytes, SWITCHES how often
traffic had to leave the way, WHY what keeps it down.

Examples:
  slashnet links --watch";

pub(super) const INVITE_EXAMPLES: &str = "\
Examples:
  lab1# slashnet invite
  lab2# slashnet join CODE

Only root and the user who started the node may do this.";

pub(super) const PREFIXES_EXAMPLES: &str = "\
Examples:
  slashnet prefixes -n lab2";

pub(super) const LS_EXAMPLES: &str = "\
Examples:
  slashnet ls -l /net/lab2/dev
  slashnet ls -R --who /net/lab2";

pub(super) const TREE_EXAMPLES: &str = "\
Links are not followed, and /net of another node is not entered.

Examples:
  slashnet tree -L 2 --who /net";

pub(super) const FIND_EXAMPLES: &str = "\
Links are not followed, and /net of another node is not entered.
Exit status 1 if a directory could not be read.

Examples:
  slashnet find /net -n 'ser*' --who
  slashnet find /net/lab2/srv -t d --json";

pub(super) const WHO_EXAMPLES: &str = "\
An open is served by the first row; all rows have a part in a listing.
Process 1 is the node itself. PROCESS is the name of a process of this node.

Examples:
  slashnet who /net/lab2/dev/ser1";

pub(super) const CP_EXAMPLES: &str = "\
A path that begins with '.' or that no resource manager owns is a file of this
machine. Holes stay holes where both file systems know them.

Examples:
  slashnet cp firmware.bin /net/lab2/srv/
  slashnet cp -r ./build /net/lab2/srv/";

pub(super) const WRITE_EXAMPLES: &str = "\
Examples:
  slashnet write /net/lab2/dev/ser1 ATZ
  slashnet write -a /net/lab2/srv/log < today.log";

pub(super) const LN_EXAMPLES: &str = "\
Examples:
  slashnet ln -sP /net/lab2/dev/ser1 /dev/modem";

pub(super) const PORT_EXAMPLES: &str = "\
Examples:
  slashnet port /net/lab2/dev/ser1
  slashnet port /net/lab2/dev/ser1 --take-over --patience 10";

pub(super) const TTY_EXAMPLES: &str = "\
Examples:
  slashnet tty /net/lab2/dev/ser1 --link /dev/ttyNET0
  picocom -b 9600 /dev/ttyNET0

Speed, stop bits, flow control and flushes go over to the port before the next
byte. A pseudo terminal cannot say more: for parity, breaks, modem lines and
waiting until output has left use 'slashnet run'.";

pub(super) const RUN_EXAMPLES: &str = "\
Examples:
  slashnet run picocom -b 9600 /net/lab2/dev/ser1
  slashnet run --map /dev/ttyUSB0=/net/lab2/dev/ser1 ./flash firmware.bin
  slashnet run --root /net/lab2 slashnet ls /dev
  slashnet run --root /net/lab2/srv/project sh -c 'cd /net && make'

With --root what the command names in the path space lies below PATH, whatever
dots, links and /net it uses: the node enforces it for every program that the
command starts, and the mounts of the node show PATH only. The files of this
machine stay as they are. Within a manager that owns PATH from further up, the
manager's own rights decide.

Exit status: the command's; 126 if it cannot be run, 127 if there is none.";

pub(crate) const SERVE_SERIAL_EXAMPLES: &str = "\
Examples:
  slashnet serve serial /dev/ttyUSB0=/dev/ser1,115200,8n1,rtscts,mode=666
  slashnet serve serial /dev/serial/by-id/usb-FTDI-if00-port0=/dev/ser1,share=one-writer,replug=wait
  slashnet serve serial rfc2217://terminal-server:4001=/dev/ser2,9600

Options: BAUD, FRAME such as 8n1, rtscts, xonxoff, noflow;
mode=OCTAL: permissions of the path, those of DEVICE unless said otherwise
(666: all users); share=many, or one-writer (others get an error), queue
(others wait), one (nobody else even reads); replug=fail (open files end when
the device is unplugged) or wait (they go on when it is back).";

pub(super) const SERVE_RFC2217_EXAMPLES: &str = "\
Examples:
  slashnet serve rfc2217 /net/lab2/dev/ser1
  python3 -m serial.tools.miniterm rfc2217://127.0.0.1:2217 9600";

pub(super) const SERVE_EXPORT_EXAMPLES: &str = "\
Examples:
  slashnet serve export /srv=/srv,ro /home/ann=/home/ann";

pub(super) const COMPLETION_EXAMPLES: &str = "\
In bash, zsh and fish, names of nodes and links and paths under /net are
proposed as well: the running node is asked while you type, for a second at
most.

Examples:
  slashnet completion bash > ~/.local/share/bash-completion/completions/slashnet
  echo 'source <(slashnet completion zsh)' >> ~/.zshrc
  slashnet completion fish > ~/.config/fish/completions/slashnet.fish";
