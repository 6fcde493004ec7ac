use super::*;

const TARGETS: &str = "\
Other\tstable\tamd64\thttp://other.example/apt/\tstable\tmain
Debian\tbookworm\tamd64\thttp://a.example/debian/\tbookworm\tmain
Debian\tbookworm\ti386\thttp://a.example/debian/\tbookworm\tmain
Debian\tbookworm-updates\tamd64\thttp://a.example/debian/\tbookworm-updates\tmain
Debian\tbookworm-security\tamd64\thttp://a.example/security/\tstable-security\tmain
Debian\tbookworm-backports\tamd64\thttp://a.example/debian/\tbookworm-backports\tmain
Debian\ttrixie\tamd64\thttp://a.example/debian/\ttrixie\tmain
$(ORIGIN)\t$(CODENAME)\tamd64\thttp://fresh.example/\tbookworm\tmain
";

#[test]
fn the_release_and_its_updates_are_taken_and_nothing_else() {
    let (sources, kernel) = sources(TARGETS, "bookworm").unwrap();
    let expected = "\
deb [arch=amd64] http://a.example/debian/ bookworm main
deb [arch=amd64] http://a.example/debian/ bookworm-updates main
deb [arch=amd64] http://a.example/security/ stable-security main
";
    assert_eq!((sources.as_str(), kernel), (expected, "linux-image-cloud-amd64"));
    assert_eq!(super::sources(TARGETS, "noble"), None);
}

#[test]
fn ubuntu_has_its_own_kernel() {
    let targets = "\
Ubuntu\tnoble\tamd64\tmirror+file:/etc/mirrors/\tnoble\tmain
Ubuntu\tnoble\tamd64\tmirror+file:/etc/mirrors/\tnoble-updates\tuniverse
Ubuntu\tnoble\tamd64\tmirror+file:/etc/mirrors/\tnoble-proposed\tmain
Debian\tbookworm\tamd64\thttp://a.example/debian/\tbookworm\tmain
";
    let (sources, kernel) = sources(targets, "noble").unwrap();
    assert_eq!(sources.lines().count(), 2, "{sources}");
    assert_eq!(kernel, "linux-image-virtual");
}

#[test]
fn a_release_is_read_from_os_release() {
    assert_eq!(release_in("ID=debian\nVERSION_CODENAME=bookworm\n").as_deref(), Some("bookworm"));
    let derivative = "VERSION_CODENAME=wilma\nUBUNTU_CODENAME=\"noble\"\n";
    assert_eq!(release_in(derivative).as_deref(), Some("noble"));
    assert_eq!(release_in("ID=arch\n"), None);
    assert_eq!(release_in("VERSION_CODENAME=../x\n"), None);
}

#[test]
fn of_apts_settings_only_those_about_the_way_are_taken() {
    let dump = "\
APT::Architecture \"amd64\";
Acquire::http::Proxy \"http://proxy.example:3128\";
Acquire::https::CaInfo \"/etc/ssl/certs/ours.pem\";
Acquire::Changelogs::URI::Origin::Debian \"http://c.example\";
Acquire::Retries \"3\";
";
    let reach = reach(dump);
    assert_eq!(reach.lines().count(), 3, "{reach}");
    assert!(reach.starts_with("Acquire::http::Proxy \"http://proxy.example:3128\";\n"), "{reach}");
}

#[test]
fn a_kernel_that_is_no_package_is_named() {
    let tools = Tools::of_this_process(false);
    if tools.find("apt-cache").is_none() {
        eprintln!("not run: packages of the archive: no apt-cache");
        return;
    }
    let error = check_package("linux-image-none", &tools).unwrap_err();
    assert!(error.to_string().starts_with("apt-get knows no package linux-image-none; see what"), "{error}");
}
