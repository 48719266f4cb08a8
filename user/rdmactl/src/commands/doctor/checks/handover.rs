//! I/OAT devices that belong to another driver, or to none, and how to hand them over and back.

use super::{Finding, note, system::Plugged, wrong};

/// The finding for I/OAT devices that are not bound to rdma: an error if there is no other device.
pub fn of(devices: &[Plugged], has_another: bool) -> Finding {
    let owner = |device: &Plugged| match &device.driver {
        Some(driver) => format!("{} is {driver}'s", device.address),
        None => format!("{} has no driver", device.address),
    };
    let found = devices.iter().map(owner).collect::<Vec<_>>().join(", ");
    let advice = devices.first().map(advice).unwrap_or_default();
    if has_another { note(found, advice) } else { wrong(found, advice) }
}

/// The commands for one device.
fn advice(Plugged { address, driver, .. }: &Plugged) -> String {
    let at = format!("/sys/bus/pci/devices/{address}");
    let unbind = driver.as_ref().map_or_else(String::new, |_| format!("`echo {address} >{at}/driver/unbind`, "));
    format!(
        "to use it with rdma: `echo rdma >{at}/driver_override`, {unbind}`echo {address} >/sys/bus/pci/drivers_probe`, or `driverctl \
         set-override {address} rdma`, which also does this at each boot; and back: `echo >{at}/driver_override`, `echo {address} \
         >{at}/driver/unbind`, `echo {address} >/sys/bus/pci/drivers_probe`, or `driverctl unset-override {address}`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Model;

    fn with(driver: Option<&str>) -> Plugged {
        Plugged::new(Model::Ioat, "0000:02:00.0", driver)
    }

    #[test]
    fn only_a_bound_device_is_unbound() {
        assert!(
            advice(&with(Some("ioatdma")))
                .contains("override`, `echo 0000:02:00.0 >/sys/bus/pci/devices/0000:02:00.0/driver/unbind`")
        );
        assert!(advice(&with(None)).contains("driver_override`, `echo 0000:02:00.0 >/sys/bus/pci/drivers_probe`"));
    }

    #[test]
    fn without_another_device_it_is_wrong() {
        assert!(
            matches!(of(&[with(None)], true), Finding::Note { found, .. } if found == "0000:02:00.0 has no driver")
        );
        assert!(of(&[with(Some("ioatdma"))], false).is_wrong());
    }
}
