use abi::devctl::{
    self, ALL_GETFLAGS, ALL_SETFLAGS, Argument, ControlCharacter, ControlModes, Devctl, FlushQueue,
    InputModes, LineErrors, LineStatus, LocalModes, ModemLines, ModemSet, OutputModes, SetTermios,
    Termios, When, WindowSize, class,
};
use abi::io::Request;
use abi::limits::DEVCTL_MAX;
use abi::{Decode, Encode, Malformed, OpenFlags};

use super::fixed;

#[test]
fn numbers_hold_direction_size_class_and_number() {
    assert_eq!(devctl::CHR_TCGETATTR.dcmd(), 0x4028_0501);
    assert_eq!(devctl::CHR_TCSETATTR.dcmd(), 0x802a_0502);
    assert_eq!(devctl::CHR_LINE_STATUS.dcmd(), 0x4008_0503);
    assert_eq!(devctl::CHR_SEND_BREAK.dcmd(), 0x8004_0504);
    assert_eq!(devctl::CHR_DRAIN.dcmd(), 0x0000_0505);
    assert_eq!(devctl::CHR_FLUSH.dcmd(), 0x8002_0506);
    assert_eq!(devctl::CHR_MODEM_SET.dcmd(), 0x8008_0507);
    assert_eq!(devctl::CHR_MODEM_GET.dcmd(), 0x4004_0508);
    assert_eq!(devctl::CHR_INPUT_COUNT.dcmd(), 0x4004_0509);
    assert_eq!(devctl::CHR_OUTPUT_COUNT.dcmd(), 0x4004_050a);
    assert_eq!(devctl::CHR_WINDOW_GET.dcmd(), 0x4008_050b);
    assert_eq!(devctl::CHR_WINDOW_SET.dcmd(), 0x8008_050c);
    assert_eq!(devctl::CHR_SET_BREAK.dcmd(), 0x8001_050d);
    assert_eq!(devctl::CHR_EXCLUSIVE.dcmd(), 0x8001_050e);
    assert_eq!(devctl::CHR_USERS.dcmd(), 0x5000_050f);
    assert_eq!(devctl::CHR_TAKE_OVER.dcmd(), 0x8005_0510);
    assert_eq!(devctl::CHR_WANTED.dcmd(), 0x4080_0511);
    assert_eq!(devctl::CHR_REFUSE.dcmd(), 0x0000_0512);
    assert_eq!(ALL_GETFLAGS.dcmd(), 0x4004_0101);
    assert_eq!(ALL_SETFLAGS.dcmd(), 0x8004_0102);
    let both: Devctl<u32, u64> = Devctl::both(class::PRIVATE, 7, 8);
    assert_eq!(both.dcmd(), 0xc008_ff07);
}

#[test]
#[should_panic(expected = "the size has 14 bits")]
fn a_size_that_the_number_cannot_hold_is_a_bug() {
    let _: Devctl<(), ()> = Devctl::both(class::PRIVATE, 1, 1 << 14);
}

/// The argument and the result fit the size in the number exactly.
fn sized<Q: Argument, P: Argument>(devctl: Devctl<Q, P>, request: &Q, reply: &P) {
    let size = (devctl.dcmd() >> 16 & 0x3fff) as usize;
    let (request, reply) = (request.to_bytes().unwrap(), reply.to_bytes().unwrap());
    assert_eq!(request.len().max(reply.len()), size, "{devctl:?}");
}

#[test]
fn sizes_in_the_numbers_are_those_of_the_values() {
    sized(devctl::CHR_TCGETATTR, &(), &Termios::default());
    sized(devctl::CHR_TCSETATTR, &SetTermios::default(), &());
    sized(devctl::CHR_LINE_STATUS, &(), &LineStatus::default());
    sized(devctl::CHR_SEND_BREAK, &0, &());
    sized(devctl::CHR_DRAIN, &(), &());
    sized(devctl::CHR_FLUSH, &FlushQueue::Both, &());
    sized(devctl::CHR_MODEM_SET, &ModemSet::default(), &());
    sized(devctl::CHR_MODEM_GET, &(), &ModemLines::empty());
    sized(devctl::CHR_INPUT_COUNT, &(), &0);
    sized(devctl::CHR_OUTPUT_COUNT, &(), &0);
    sized(devctl::CHR_WINDOW_GET, &(), &WindowSize::default());
    sized(devctl::CHR_WINDOW_SET, &WindowSize::default(), &());
    sized(devctl::CHR_SET_BREAK, &true, &());
    sized(devctl::CHR_EXCLUSIVE, &true, &());
    sized(ALL_GETFLAGS, &(), &OpenFlags::empty());
    sized(ALL_SETFLAGS, &OpenFlags::empty(), &());
}

#[test]
fn terminal_modes_have_numbers_of_their_own() {
    let mut termios = Termios {
        input: InputModes::ICRNL | InputModes::IXON,
        output: OutputModes::OPOST | OutputModes::ONLCR,
        control: ControlModes::CS8 | ControlModes::CREAD | ControlModes::CLOCAL,
        local: LocalModes::ISIG | LocalModes::ICANON | LocalModes::ECHO,
        characters: [0; 16],
        input_speed: 9600,
        output_speed: 115_200,
    };
    termios.set_character(ControlCharacter::Intr, 3);
    termios.set_character(ControlCharacter::Min, 1);
    termios.set_character(ControlCharacter::Eol2, 0xff);
    assert_eq!(termios.character(ControlCharacter::Min), 1);
    let bytes = "00030000 03000000 0b010000 07000000 |
        03000000 00000100 00000000 000000ff | 80250000 00c20100";
    fixed(&termios, bytes);
    assert_eq!(termios.to_bytes().unwrap().len(), Termios::ENCODED_LEN);
    fixed(
        &SetTermios {
            when: When::Flush,
            termios,
        },
        &format!("0200 | {bytes}"),
    );
    let mut unknown = termios.to_bytes().unwrap();
    unknown[1] = 0x80;
    assert_eq!(Termios::from_bytes(&unknown), Err(Malformed::Unknown));
}

#[test]
fn line_states_and_queues() {
    let status = LineStatus {
        lines: ModemLines::DTR | ModemLines::CTS | ModemLines::CD,
        errors: LineErrors::BREAK | LineErrors::PARITY,
    };
    fixed(&status, "15000000 0a000000");
    fixed(
        &ModemSet {
            on: ModemLines::RTS,
            off: ModemLines::DTR,
        },
        "02000000 01000000",
    );
    fixed(
        &WindowSize {
            rows: 24,
            columns: 80,
            width: 1,
            height: 2,
        },
        "1800 5000 0100 0200",
    );
    fixed(&FlushQueue::Input, "0000");
    fixed(&FlushQueue::Output, "0100");
    fixed(&FlushQueue::Both, "0200");
    fixed(&When::Now, "0000");
    fixed(&When::Drain, "0100");
    assert_eq!(FlushQueue::from_bytes(&[3, 0]), Err(Malformed::Unknown));
}

#[test]
fn users_of_a_port_and_who_wants_it() {
    let user = devctl::PortUser {
        node: abi::Nd(2),
        node_name: b"lab1".to_vec(),
        pid: abi::Pid(7),
        uid: abi::Uid(1000),
        access: devctl::PortAccess::READ | devctl::PortAccess::EXCLUSIVE,
        seconds: 60,
    };
    let bytes = "02000000 0400 6c616231 07000000 e8030000 05000000 3c000000";
    fixed(&user, bytes);
    let users = devctl::PortUsers(vec![user]);
    fixed(&users, &format!("0100 {bytes}"));
    let many = devctl::PortUsers(vec![
        devctl::PortUser {
            node_name: vec![b'a'; 63],
            ..devctl::PortUser::default()
        };
        devctl::PortUsers::MAX
    ]);
    assert!(
        many.to_bytes().unwrap().len() <= 4096,
        "the size in the number"
    );
    let wish = devctl::TakeOver {
        force: true,
        patience_ms: 5000,
    };
    fixed(&wish, "01 88130000");
}

#[test]
fn arguments_beyond_the_bound_are_refused() {
    let data = vec![0; DEVCTL_MAX + 1];
    let good = Request::Devctl {
        dcmd: 1,
        data: &data[1..],
    };
    assert_eq!(Request::from_bytes(&good.to_bytes().unwrap()), Ok(good));
    let bad = Request::Devctl {
        dcmd: 1,
        data: &data,
    }
    .to_bytes()
    .unwrap();
    assert_eq!(Request::from_bytes(&bad), Err(Malformed::TooMany));
}
