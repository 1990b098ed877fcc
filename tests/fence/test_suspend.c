// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * Suspends one PCI device alone, as the system does with all, while this module is loaded: the
 * others of a test VM (9p) would not come back. insmod fails as the device's driver does.
 */
#include <linux/module.h>
#include <linux/pci.h>

static char *device = "";
module_param(device, charp, 0444);

static struct device *found;

static int call(int (*callback)(struct device *))
{
	int ret;

	device_lock(found);
	ret = callback(found);
	device_unlock(found);
	return ret;
}

static int __init test_suspend_init(void)
{
	const struct dev_pm_ops *ops;
	int ret = -EOPNOTSUPP;

	found = bus_find_device_by_name(&pci_bus_type, NULL, device);
	if (!found)
		return -ENODEV;
	ops = found->driver ? found->driver->pm : NULL;
	if (ops && ops->suspend && ops->resume)
		ret = call(ops->suspend);
	if (ret)
		put_device(found);
	return ret;
}

static void __exit test_suspend_exit(void)
{
	int ret = call(found->driver->pm->resume);

	if (ret)
		dev_err(found, "does not resume: %d\n", ret);
	put_device(found);
}

module_init(test_suspend_init);
module_exit(test_suspend_exit);
MODULE_DESCRIPTION("Suspends one PCI device");
MODULE_LICENSE("Dual BSD/GPL");
