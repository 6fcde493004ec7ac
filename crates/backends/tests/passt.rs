//! A network device on a real passt.

#![allow(missing_docs)]

mod common;

use common::{MAC, RX, TX, arp_request, bench, fill, is_arp_reply, receive, send};
use strata_backends::passt::{Passt, PasstError, PasstOptions};
use strata_devices::virtio::net::{HEADER, NetBackend as _};

#[test]
fn passt_answers_and_ends_with_us() {
    if !common::has("passt") {
        eprintln!("not run: user-mode network: passt is not installed");
        return;
    }
    let link = match Passt::spawn(&PasstOptions::default()) {
        Ok(link) => link,
        Err(error @ PasstError::Refused(_)) => {
            eprintln!("not run: user-mode network: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    assert_eq!((link.mtu(), link.offloads()), (Some(65_520), 0));
    let mut bench = bench(vec![link], 0);
    fill(&mut bench, RX, 1526);
    // It is whoever is asked for.
    let anybody = [192, 0, 2, 77];
    send(&mut bench, TX, [0; HEADER], &arp_request([192, 0, 2, 78], anybody));
    let reply = receive(&mut bench, RX, 1526, |frame| is_arp_reply(frame, anybody));
    assert_eq!(reply[HEADER..HEADER + 6], MAC);
}

#[test]
fn where_there_is_no_network_passt_says_so() {
    if !common::has("passt") {
        eprintln!("not run: passt without a network: passt is not installed");
        return;
    }
    if !common::enter_namespace("passt without a network") {
        return;
    }
    let error = Passt::spawn(&PasstOptions::default()).unwrap_err();
    assert!(error.to_string().contains("No external routable interface"), "{error}");
    assert!(error.to_string().contains("ip route"), "{error}");
}

#[test]
fn arguments_are_handed_on() {
    if !common::has("passt") {
        eprintln!("not run: passt's arguments: passt is not installed");
        return;
    }
    let arguments = ["--no-such-argument".as_ref()];
    let error = Passt::spawn(&PasstOptions { arguments: &arguments, ..PasstOptions::default() }).unwrap_err();
    assert!(matches!(error, PasstError::Refused(_)), "{error}");
}
