//! The codec by example and by property.

use super::*;
use alloc::vec;

#[test]
fn integers_are_little_endian() {
    let mut bytes = vec![];
    let mut w = Writer::growing(&mut bytes);
    w.u8(1);
    w.u16(0x0203);
    w.u32(0x0405_0607);
    w.u64(0x0809_0a0b_0c0d_0e0f);
    w.i8(-1);
    w.i32(-2);
    w.i64(-3);
    w.bool(true);
    w.str16(b"\xff!");
    assert_eq!(w.finish(), Ok(33));
    let expected = [
        1, 3, 2, 7, 6, 5, 4, 15, 14, 13, 12, 11, 10, 9, 8, 0xff, 0xfe, 0xff, 0xff, 0xff, 0xfd,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 0, 0xff, b'!',
    ];
    assert_eq!(bytes, expected);
    let mut r = Reader::new(&bytes);
    assert_eq!(r.u8(), Ok(1));
    assert_eq!(r.u16(), Ok(0x0203));
    assert_eq!(r.u32(), Ok(0x0405_0607));
    assert_eq!(r.u64(), Ok(0x0809_0a0b_0c0d_0e0f));
    assert_eq!(r.i8(), Ok(-1));
    assert_eq!(r.i32(), Ok(-2));
    assert_eq!(r.i64(), Ok(-3));
    assert_eq!(r.bool(), Ok(true));
    assert_eq!(r.str16(2), Ok(&b"\xff!"[..]));
    assert_eq!(r.finish(), Ok(()));
}

#[test]
fn a_full_slice_is_an_error_and_keeps_what_fitted() {
    let mut space = [0; 3];
    let mut w = Writer::fixed(&mut space);
    w.u16(0x0102);
    w.u16(0x0304);
    w.u8(9);
    assert_eq!(w.finish(), Err(Overflow));
    assert_eq!(space, [2, 1, 0]);
}

#[test]
fn reading_past_the_end_is_an_error_and_takes_nothing() {
    let mut r = Reader::new(&[1, 2, 3]);
    assert_eq!(r.u32(), Err(Malformed::Truncated));
    assert_eq!(r.bytes(4), Err(Malformed::Truncated));
    assert_eq!(r.remaining(), 3);
    assert_eq!(r.clone().finish(), Err(Malformed::Trailing));
    assert_eq!(r.rest(), &[1, 2, 3]);
    assert_eq!(r.finish(), Ok(()));
}

#[test]
fn a_text_longer_than_its_bound_is_refused_before_it_is_read() {
    let bytes = [0xff, 0xff];
    assert_eq!(Reader::new(&bytes).str16(255), Err(Malformed::NameTooLong));
    assert_eq!(Reader::new(&bytes).count16(255), Err(Malformed::TooMany));
    assert_eq!(Reader::new(&[2]).bool(), Err(Malformed::Invalid));
}

#[test]
fn a_text_longer_than_the_length_field_overflows() {
    let mut bytes = vec![];
    let mut w = Writer::growing(&mut bytes);
    w.str16(&vec![0; 65_536]);
    assert_eq!(w.finish(), Err(Overflow));
}

#[test]
fn what_was_there_before_an_overflow_is_kept() {
    struct TooLong;
    impl Encode for TooLong {
        fn encode(&self, w: &mut Writer<'_>) {
            w.u8(1);
            w.count16(65_536);
        }
    }
    let mut bytes = vec![7];
    assert_eq!(TooLong.append_to(&mut bytes), Err(Overflow));
    assert_eq!(bytes, [7]);
}
