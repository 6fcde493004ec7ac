use strata_vmm::vcpu::ExitRecord;

use super::super::sample::{exits, places};
use super::*;

/// Which of the sample's exits pass, as their lines.
fn passing(filter: &str, vcpu: u8) -> Vec<String> {
    let sieve = filter.parse::<Filter>().unwrap().sieve(&places(), 3).unwrap();
    let all = exits().into_iter().filter(|record| sieve.passes(vcpu, &record.clone().lend()));
    all.map(|record| record.to_string().split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn filters_choose() {
    assert_eq!(passing("", 0).len(), 5);
    assert_eq!(passing("kind=pio", 0), ["out 0x3f8/1", "in 0x60/1"]);
    assert_eq!(passing("kind=mmio-read, kind=hlt", 0), ["mmio read", "hlt"]);
    assert_eq!(passing("kind=write", 0), ["out 0x3f8/1", "mmio write"]);
    assert_eq!(passing("port=0x3f8-0x3ff", 0), ["out 0x3f8/1"]);
    assert_eq!(passing("port=96,address=0x8003", 0), ["in 0x60/1", "mmio write"]);
    assert_eq!(passing("device=com1", 0), ["out 0x3f8/1"]);
    assert_eq!(passing("device=i8042,device=nobody", 0), ["in 0x60/1", "mmio write", "mmio read"]);
    assert_eq!(passing("device=nobody,kind=read", 0), ["mmio read"]);
    assert_eq!(passing("vcpu=1,vcpu=2", 0), [""; 0]);
    assert_eq!(passing("vcpu=1,vcpu=2", 2).len(), 5);
}

#[test]
fn an_access_is_at_each_of_its_bytes() {
    let sieve = "port=0x3f9".parse::<Filter>().unwrap().sieve(&[], 1).unwrap();
    let wide = ExitRecord::PioWrite { port: 0x3f8, width: 2, data: vec![0; 2] };
    // A string goes to one port.
    let long = ExitRecord::PioWrite { port: 0x3f8, width: 1, data: vec![0; 2] };
    assert!(sieve.passes(0, &wide.clone().lend()));
    assert!(!sieve.passes(0, &long.clone().lend()));
    let end = "address=0xffffffffffffffff".parse::<Filter>().unwrap().sieve(&[], 1).unwrap();
    let last = ExitRecord::MmioWrite { addr: u64::MAX - 1, data: vec![0; 8] };
    assert!(end.passes(0, &last.clone().lend()));
}

#[test]
fn what_is_wrong_is_said() {
    let said = |text: &str| text.parse::<Filter>().unwrap_err().to_string();
    assert_eq!(said("com1"), "`com1` in the filter is not KEY=VALUE: write e.g. kind=mmio,device=com1");
    assert_eq!(said("prot=1"), "a filter has no key prot: there are kind, port, address, device and vcpu");
    assert!(said("kind=PIO").contains("named PIO: there are in, out, mmio-read"));
    for wrong in ["0x10000", "5-4", "-", "0x", "x", "1-2-3"] {
        assert_eq!(
            said(&format!("port={wrong}")),
            format!("port={wrong} is no number or range that fits: write e.g. port=0x3f8-0x3ff")
        );
    }
    assert!(said("vcpu=256").contains("vcpu=256"));
    let device = "device=disc".parse::<Filter>().unwrap().sieve(&places(), 3).unwrap_err().to_string();
    let vcpu = |text: &str, cpus| text.parse::<Filter>().unwrap().sieve(&[], cpus).map(drop);
    assert_eq!(vcpu("vcpu=0,vcpu=1", 2), Ok(()));
    let said = |cpus| vcpu("vcpu=0,vcpu=4", cpus).unwrap_err().to_string();
    assert_eq!(said(1), "the machine has no vCPU 4: it has vCPU 0 only");
    assert_eq!(said(4), "the machine has no vCPU 4: it has vCPUs 0 to 3");
    assert_eq!(device, "the machine has no device named disc: there are i8042, com1, disk, nobody");
}
