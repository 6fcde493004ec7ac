use std::io::Write as _;

use proptest::prelude::*;

use super::super::testing::{Reaction, Scripted, answer};
use super::*;

const LONG: Duration = Duration::from_secs(20);

fn shake(
    script: impl FnMut(&super::super::testing::Heard) -> Reaction + Send + 'static,
) -> Result<u64, TalkError> {
    let (_scripted, server) = Scripted::new(script);
    Talk::new(server.stream, LONG).shake_hands(1 << 32, 2)
}

#[test]
fn hands_are_shaken_in_the_order_of_the_protocol() {
    let (scripted, server) = Scripted::new(|_| Reaction::Proper);
    assert_eq!(Talk::new(server.stream, LONG).shake_hands(1 << 32, 2).unwrap(), 3);
    let said: Vec<_> =
        scripted.heard().iter().map(|heard| (heard.request, heard.flags, heard.payload.len())).collect();
    // Only once acknowledgements are agreed on they are asked for.
    assert_eq!(said, [(1, 1, 0), (15, 1, 0), (16, 1, 8), (17, 1, 0), (3, 9, 0)]);
}

#[test]
fn a_server_that_cannot_do_what_is_needed_is_not_taken() {
    let error = shake(|_| Reaction::Answer(1 << 30)).unwrap_err();
    assert!(matches!(error, TalkError::Lacks { features: 0x1_0000_0000, protocol: 0 }), "{error}");
    let error = shake(|heard| match heard.request {
        15 => Reaction::Answer(1),
        _ => Reaction::Proper,
    });
    assert!(matches!(error, Err(TalkError::Lacks { features: 0, protocol: 8 })));
    let error = shake(|heard| if heard.request == 17 { Reaction::Answer(1) } else { Reaction::Proper });
    assert!(matches!(error, Err(TalkError::TooFewQueues { has: 1, needs: 2 })));
}

#[test]
fn a_server_may_die_at_any_request() {
    for dying in [1, 15, 16, 17, 3] {
        let error =
            shake(move |heard| if heard.request == dying { Reaction::HangUp } else { Reaction::Proper });
        let Err(TalkError::HungUp(at)) = error else { panic!("{error:?}") };
        // What is not acknowledged is missed at the next one.
        assert_eq!(at as u32, if dying == 16 { 17 } else { dying });
    }
}

#[test]
fn a_refusal_is_one() {
    let error = shake(|heard| if heard.request == 3 { Reaction::Answer(1) } else { Reaction::Proper });
    assert!(matches!(error, Err(TalkError::Refused(Request::SetOwner))));
}

#[test]
fn an_answer_to_something_else_is_nonsense() {
    for (place, byte) in [(0, 2), (1, 1), (4, 1), (4, 6), (8, 4), (11, 0xff)] {
        let mut bytes = answer(1, u64::MAX);
        bytes[place] = byte;
        let error = shake(move |_| Reaction::Say(bytes.clone()));
        assert!(matches!(error, Err(TalkError::Nonsense(Request::GetFeatures))), "{place}: {error:?}");
    }
    let (_scripted, server) = Scripted::new(|_| Reaction::Answer(2));
    let error = Talk::new(server.stream, LONG).stop_ring(1);
    assert!(matches!(error, Err(TalkError::Nonsense(Request::GetVringBase))), "another queue's");
}

#[test]
fn silence_is_waited_for_only_so_long() {
    let limit = Duration::from_millis(20);
    for bytes in [vec![], answer(1, 0)[..19].to_vec()] {
        let (_scripted, server) = Scripted::new(move |_| Reaction::Say(bytes.clone()));
        let error = Talk::new(server.stream, limit).get(Request::GetFeatures, &[]).unwrap_err();
        assert!(matches!(error, TalkError::Silent { request: Request::GetFeatures, .. }), "{error}");
    }
}

#[test]
fn single_bytes_do_not_prolong_the_wait() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let dripping = std::thread::spawn(move || {
        // It is stopped by nobody listening any more.
        while theirs.write_all(&[0]).is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let mut talk = Talk::new(Arc::new(ours), Duration::from_millis(100));
    let error = talk.get(Request::GetFeatures, &[]).unwrap_err();
    assert!(matches!(error, TalkError::Silent { .. }), "{error}");
    drop(talk);
    dripping.join().unwrap();
}

proptest! {
    /// Whatever a server says, a conversation ends, and with success only if it says the one right thing.
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..80), keep in 0..=20_usize) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut said = answer(1, u64::MAX);
        said.truncate(keep);
        said.extend(bytes);
        theirs.write_all(&said).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        let answer = Talk::new(Arc::new(ours), LONG).get(Request::GetFeatures, &[]);
        prop_assert_eq!(answer.is_ok(), said.len() >= 20 && said[..12] == super::super::testing::answer(1, 0)[..12]);
    }
}
