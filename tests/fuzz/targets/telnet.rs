//! What strangers send to a port that is shared by RFC 2217: any bytes, cut anywhere.
#![no_main]

use telnet::{Item, Message, Options, Parser, SUBNEGOTIATION_MAX, option};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&cut, stream)) = data.split_first() else {
        return;
    };
    let (mut parser, mut options) = (Parser::default(), Options::server());
    let (mut bytes, mut answer) = (0, Vec::new());
    for piece in stream.chunks(usize::from(cut).max(1)) {
        parser.feed(piece, |item| match item {
            Item::Data(data) => {
                assert!(!data.is_empty());
                bytes += data.len();
            }
            Item::Option(verb, number) => {
                let before = answer.len();
                options.hear(verb, number, &mut answer);
                assert!(answer.len() <= before + 3, "one answer to one offer");
            }
            Item::Subnegotiation(option::COM_PORT, said) => {
                assert!(said.len() < SUBNEGOTIATION_MAX);
                if let Some(message) = Message::parse(said) {
                    again(&message);
                }
            }
            Item::Subnegotiation(..) | Item::Command(_) => {}
        });
    }
    assert!(bytes <= stream.len(), "no byte is made up");
});

/// What was understood is understood the same when it is written.
fn again(message: &Message<'_>) {
    let mut sent = Vec::new();
    message.push(&mut sent);
    let mut heard = false;
    Parser::default().feed(&sent, |item| {
        if let Item::Subnegotiation(_, said) = item {
            heard = Message::parse(said) == Some(*message);
        }
    });
    assert!(heard);
}
