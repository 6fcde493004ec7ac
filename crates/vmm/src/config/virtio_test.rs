use super::super::Config;
use super::*;

#[test]
fn a_disk_in_a_line() {
    let disk: Disk = "a,,b.img,ro,direct,queues=2,cache=writethrough,serial=s1".parse().unwrap();
    let expected = Disk {
        path: "a,b.img".into(),
        read_only: true,
        cache: Cache::Writethrough,
        direct: true,
        queues: Some(2),
        serial: Some("s1".to_owned()),
        rate: Rate::default(),
    };
    assert_eq!(disk, expected);
    for wrong in ["a,rw", "a,cache=no", "a,queues=x", "a,ro=1", "a,"] {
        assert!(wrong.parse::<Disk>().is_err(), "{wrong}");
    }
}

#[test]
fn a_network_in_a_line() {
    let net: Net = "tap=tap0,mac=52:54:00:00:00:01,queues=4".parse().unwrap();
    assert_eq!((net.to, net.queues), (NetTo::Tap("tap0".to_owned()), Some(4)));
    assert_eq!(net.mac.unwrap().to_string(), "52:54:00:00:00:01");
    assert_eq!("user".parse::<Net>().unwrap().to, NetTo::User);
    assert_eq!("fd=7".parse::<Net>().unwrap().to, NetTo::Fd(7));
    for wrong in ["", "tap", "tap=", "fd=x", "user=1", "user,fast"] {
        assert!(wrong.parse::<Net>().is_err(), "{wrong}");
    }
    let said = "user,mac=01:00:00:00:00:01".parse::<Net>().unwrap_err().to_string();
    assert!(said.contains("one network card"), "{said}");
}

#[test]
fn others_in_a_line() {
    assert_eq!("3:/x:y".parse::<Vsock>().unwrap(), Vsock { cid: 3, path: "/x:y".into() });
    assert!("/x".parse::<Vsock>().is_err());
    let share = |text: &str| text.parse::<Share>().map(|share| (share.dir, share.tag, share.read_only));
    assert_eq!(share("a:b:c:ro").unwrap(), ("a:b".into(), "c".to_owned(), true));
    assert_eq!(share("a:b").unwrap(), ("a".into(), "b".to_owned(), false));
    assert!(share("a").is_err());
    let console: Console = "unix=/x,name=agent".parse().unwrap();
    assert_eq!((console.to, console.name.as_deref()), (ConsoleTo::Unix("/x".into()), Some("agent")));
    assert!("file=".parse::<Console>().is_err());
}

#[test]
fn all_of_them_in_a_file() {
    let config = Config::from_toml(
        r#"
        [[disk]]
        path = "a"
        cache = "unsafe"
        rate = { bytes = "1M", ops = 10 }
        [[net]]
        to = "tap=t"
        mac = "52:54:00:00:00:01"
        [vsock]
        cid = 3
        path = "v"
        [[share]]
        dir = "."
        tag = "t"
        [[console]]
        to = "pty"
        [balloon]
        [rng]
        "#,
    )
    .unwrap();
    assert_eq!(config.disk[0].rate.bytes, Some(ByteSize(1 << 20)));
    assert_eq!(config.net[0].mac, Some("52:54:00:00:00:01".parse().unwrap()));
    assert_eq!((config.balloon, config.rng.is_some()), (Some(Balloon::default()), true));
    let said = |text| Config::from_toml(text).unwrap_err().to_string();
    assert!(said("[[net]]\nto = \"bridge\"").contains("tap=NAME"));
    assert!(said("[[disk]]\nfile = \"x\"").contains("unknown field"));
}

#[test]
fn the_pages_about_devices_show_configurations() {
    let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/devices"));
    let mut found = 0;
    for page in std::fs::read_dir(folder).unwrap() {
        let page = page.unwrap().path();
        let text = std::fs::read_to_string(&page).unwrap();
        for block in text.split("```toml\n").skip(1) {
            let toml = block.split("```").next().unwrap();
            let config =
                Config::from_toml(toml).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
            assert_ne!(config, Config::default(), "{}", page.display());
            found += 1;
        }
    }
    assert!(found >= 7, "{found}");
}
