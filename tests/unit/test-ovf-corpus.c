/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which disks the descriptors of many exporters have, in which order and where they are plugged in. The table
 * was worked out from the texts by another program and by eye, not by the parser. */
#include "formats/ovf.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* clang-format off */
static const struct {
    const char *file, *drives; /* "scsi0:1=HREF" for each; "blank" has no File, "?ID" isn't there */
} wanted[] = {
    { "cot_c8000v.ovf", /* its default configuration is one with 16 GB */
      "scsi0:0=c8000v_harddisk_16G.vmdk" },
    { "cot_csr1000v.ovf",
      "scsi0:0=input.vmdk" },
    { "cot_input.ovf",
      "scsi0:0=input.vmdk" },
    { "cot_invalid.ovf",
      "ide0:0=?nonexistent.vmdk -=this_is_a_really_long_filename_for_a_disk.vmdk -=?flash2" },
    { "cot_ubuntu.2.0.ovf",
      "sata0:0=ubuntu.2.0-disk1.vmdk" },
    { "govmomi_category-grouping.ovf", "" }, /* its disk's Item names none */
    { "govmomi_disk-capacity-property.ovf",
      "scsi0:0=blank" },
    { "govmomi_dmtf_gos_versioned_test.ovf",
      "scsi0:0=valid_disk.vmdk" },
    { "govmomi_external_2011OVFs_converter_winxp_converter_winxp.ovf",
      "scsi0:0=converter_winxp-disk1.vmdk" },
    { "govmomi_external_2011OVFs_sunVHW-DiskTypes_sunVHW-DiskTypes.ovf",
      "scsi0:0=sunVHW-DiskTypes-disk1.vmdk scsi0:1=sunVHW-DiskTypes-disk2.vmdk" },
    { "govmomi_external_2013-lib_2013BackwardCompatible_file_CentOS-With-Tools.ovf",
      "scsi0:0=CentOS-With-Tools-disk1.vmdk" },
    { "govmomi_external_AddOvf_ApplicationDirector_ApplicationDirector-5.0.0.0-862123_OVF10.ovf",
      "scsi0:0=ApplicationDirector-5.0.0.0-862123-system.vmdk" },
    { "govmomi_external_Alpha-demo_Ubuntu-12.04.2-64-Server-Tools_Ubuntu-12.04.2-64-Server-Tools.ovf",
      "scsi0:0=Ubuntu-12.04.2-64-Server-Tools-disk1.vmdk" },
    { "govmomi_external_Alpha-demo_vApp_with_2vms_vApp_with_2vms.ovf",
      "scsi0:0=vApp_with_2vms-disk2.vmdk" },
    { "govmomi_external_Editable_Template_Editable_Template.ovf",
      "scsi0:0=Editable_Template-disk1.vmdk" },
    { "govmomi_external_ImportOvf2014_complete_vsc_11.ovf",
      "scsi0:0=nostalgia-disk1.vmdk" },
    { "govmomi_external_ImportOvf2014_nostalgia-two-disks-same.ovf",
      "scsi0:0=nostalgia-disk1.vmdk scsi0:1=nostalgia-disk1.vmdk" },
    { "govmomi_external_ImportOvf2014_parentDisk.ovf",
      "scsi0:0=UnOS2-2.vmdk" },
    { "govmomi_external_ImportOvf2014_storagegroupWithDisk.ovf",
      "scsi0:0=UnOS2.vmdk" },
    { "govmomi_external_NVM_nvdimm.ovf",
      "scsi0:0=nostalgia-disk1.vmdk" },
    { "govmomi_external_OVFCerts_ExpiredCert_NostalgiaInvalidCert.ovf",
      "scsi0:0=NostalgiaInvalidCert-disk1.vmdk" },
    { "govmomi_external_OVFToolTemplates_OVF_xmltestfiles_DeltaDiskCompression_Pos_nvapp-disks-12.ovf",
      "scsi0:0=disks/disk1.vmdk scsi0:1=disks/disk2.vmdk scsi0:2=disks/disk3.vmdk scsi0:3=disks/disk4.vmdk scsi0:4=disks/disk5.vmdk scsi0:5=disks/disk6.vmdk scsi0:6=disks/disk7.vmdk scsi0:8=disks/disk9.vmdk scsi0:9=disks/disk10.vmdk scsi0:10=disks/disk11.vmdk scsi0:11=disks/disk12.vmdk scsi0:12=disks/disk8.vmdk" },
    { "govmomi_external_OVFToolTemplates_OVF_xmltestfiles_DeltaDiskCompression_Pos_nvapp-disks-3.ovf",
      "scsi0:0=disks/disk1.vmdk scsi0:1=disks/disk2.vmdk scsi0:2=disks/disk3.vmdk" },
    { "govmomi_external_OVFToolTemplates_OVF_xmltestfiles_DiskSection_1_0_Neg_invalid_createType_disk.ovf",
      "scsi0:0=../../../vmdk/invalid_createType_disk.vmdk" },
    { "govmomi_external_OVFToolTemplates_OVF_xmltestfiles_DiskSection_1_0_Pos_valid_dynamicAllocGT_disk.ovf",
      "scsi0:0=../../../vmdk/valid_dynamicAllocGT_disk.vmdk" },
    { "govmomi_external_OVFToolTemplates_OVF_xmltestfiles_DiskSection_Neg_dup_diskid.ovf", /* neither is lost */
      "scsi0:0=../../../vmdk/ubuntu.vmdk -=../../../vmdk/ubuntu_1.vmdk" },
    { "govmomi_external_OVFToolTemplates_OVF_xmltestfiles_DiskSection_Neg_invalid_createType_disk.ovf",
      "scsi0:0=../../../vmdk/invalid_createType_disk.vmdk" },
    { "govmomi_external_OVFToolTemplates_OVF_xmltestfiles_DiskSection_Neg_no_diskid.ovf",
      "scsi0:0=?vmdisk1 -=../../../vmdk/ubuntu.vmdk" },
    { "govmomi_external_OVFToolTemplates_OVF_xmltestfiles_DiskSection_Pos_valid_vmfs_disk.ovf",
      "scsi0:0=../../../vmdk/valid_vmfs_disk.vmdk" },
    { "govmomi_external_OVFToolTemplates_OVF_xmltestfiles_Envelope_Neg_identity_compression.ovf",
      "scsi0:0=../../../vmdk/valid_disk.vmdk" },
    { "govmomi_external_OVFToolTemplates_OVF_xmltestfiles_Envelope_Neg_invalid_neg_chunk.ovf",
      "scsi0:0=../../../vmdk/valid_disk_1.vmdk" },
    { "govmomi_external_OVFToolTemplates_OVF_xmltestfiles_Envelope_Pos_gzip_compression.ovf",
      "scsi0:0=../../../vmdk/ubuntu.vmdk" },
    { "govmomi_external_OVFToolTemplates_OVF_xmltestfiles_HttpLocators_1_0_Neg_valid_no_disk_in_server.ovf",
      "scsi0:0=unavailable.vmdk" },
    { "govmomi_external_OVFToolTemplates_OVF_xmltestfiles_LaxMode_Pos_vbox1_default_vm_vbox1.ovf",
      "ide1:0=vbox1.vmdk" },
    { "govmomi_external_OVFToolTemplates_OVF_xmltestfiles_LaxMode_Pos_vbox4_three_devices_IDE_vbox4.ovf",
      "ide1:0=vbox4.vmdk" },
    { "govmomi_external_OVFToolTemplates_OVF_xmltestfiles_ProductSection_1_0_Neg_prop_invalid_type.ovf",
      "scsi0:0=../../../vmdk/valid_disk.vmdk" },
    { "govmomi_external_OVFToolTemplates_OVF_xmltestfiles_ProductSection_1_0_Pos_prod_sec_catnprop.ovf",
      "scsi0:0=../../../vmdk/nvm001-disk1.vmdk" },
    { "govmomi_external_OVFToolTemplates_OVF_xmltestfiles_RASection_Neg_ras_sec_elsewhr.ovf",
      "scsi0:0=../../../vmdk/valid_disk.vmdk" },
    { "govmomi_external_OVFToolTemplates_OVF_xmltestfiles_VirtualHardware_1_0_Pos_valid_multiple_subtypes.ovf",
      "scsi0:0=../../../vmdk/valid_disk.vmdk" },
    { "govmomi_external_OVFToolTemplates_OVF_xmltestfiles_VirtualHardware_Neg_maxwith_nonormal.ovf",
      "scsi0:0=../../../vmdk/valid_disk.vmdk" },
    { "govmomi_external_OVFToolTemplates_OVF_xmltestfiles_VirtualHardware_Pos_child_kitem_req_true.ovf",
      "scsi0:0=../../../vmdk/valid_disk.vmdk" },
    { "govmomi_external_OVFToolTemplates_OVF_xmltestfiles_VirtualHardware_Pos_normalexplicit_bound.ovf",
      "scsi0:0=../../../vmdk/valid_disk.vmdk" },
    { "govmomi_external_OVFToolTemplates_ovftoolresources_child_kitem_req_false.ovf",
      "scsi0:0=valid_disk.vmdk" },
    { "govmomi_external_OVFToolTemplates_ovftoolresources_valid_vmdk_neg_size.ovf",
      "scsi0:0=valid_disk.vmdk" },
    { "govmomi_external_cl-lib_2013-lib_template1_haoUnOS2VMs.ovf",
      "scsi0:0=haoUnOS2VMs-disk1.vmdk" },
    { "govmomi_external_evdc_haoUnOS2VMs-2x1GHz-2x1GB_hw8-blank.ovf", /* both systems name the first Disk */
      "scsi0:0=hw8-blank-disk1.vmdk -=hw8-blank-disk2.vmdk" },
    { "govmomi_external_nostalgia-noproperties-scheme.ovf",
      "scsi0:0=nostalgia-disk1.vmdk" },
    { "govmomi_external_nostalgia2-two-disks.ovf",
      "scsi0:0=nostalgia-disk2.vmdk scsi0:1=nostalgia-disk3.vmdk" },
    { "govmomi_external_nvm_storagegroup.ovf",
      "scsi0:0=nostalgia-disk1.vmdk scsi0:1=nostalgia-pmemdisk.vmdk" },
    { "govmomi_external_ovf_with_policy_Ovf_with_policy_onHost_descriptor.ovf",
      "ide1:0=disk-vdcs-1.vmdk" },
    { "govmomi_external_ovftoolresources_prop_type_real64.ovf",
      "scsi0:0=valid_disk.vmdk" },
    { "govmomi_external_ovftoolresources_prop_type_sint8.ovf",
      "scsi0:0=valid_disk.vmdk" },
    { "govmomi_external_published_lib_backup_MicroCoreLinuxSignedOld_MicroCore-Linux-signed.ovf",
      "ide0:0=MicroCore-Linux-signed-disk1.vmdk" },
    { "govmomi_external_standard_ovas_nostalgia-chunkdisk_Nostalgia.ovf",
      "scsi0:0=Nostalgia-disk1.vmdk" },
    { "govmomi_external_vbs_efi-nvram-without-extra-config.ovf",
      "scsi0:0=efi-nvram-1.vmdk" },
    { "govmomi_external_vbs_extra-config-complete-required.ovf",
      "scsi0:0=blank" },
    { "govmomi_external_vtpm-ovf_vtpm-spec-with-nvram.ovf",
      "scsi0:0=vtpm-spec-with-nvram-1.vmdk" },
    { "govmomi_file-ref-path.ovf",
      "scsi0:0=subdir/data.vmdk" },
    { "govmomi_mixed-disks.ovf",
      "scsi0:0=os.vmdk scsi0:1=blank" },
    { "govmomi_photon5.ovf",
      "scsi0:0=photon-ova-disk1.vmdk" },
    { "govmomi_property-types.ovf",
      "scsi0:0=os.vmdk" },
    { "govmomi_ttylinux.ovf",
      "ide0:0=ttylinux-pc_i486-16.1-disk1.vmdk" },
    { "govmomi_ubuntu24.10.ovf",
      "scsi0:0=ubuntu-oracular-24.10-cloudimg.vmdk" },
    { "openvmdk_template-hw13.ovf",
      "scsi0:0=@@NAME@@-disk1.vmdk" },
    { "openvmdk_template-hw7.ovf",
      "scsi0:0=@@NAME@@-disk1.vmdk" },
    { "v2v_test-i-ova-as-root.ovf",
      "scsi0:0=disk.vmdk" },
    { "v2v_test-i-ova-formats.ovf",
      "scsi0:0=disk1.vmdk" },
    { "v2v_test-i-ova.ovf",
      "scsi0:0=test-ova.vmdk" },
};
/* clang-format on */

/* The text of a corpus file, the caller's; it may be packed. */
static char *read_corpus(const char *dir, const char *file, size_t *ret_n)
{
    char command[1024];
    size_t size = OVF_MAX_SIZE;
    char *text = malloc(size);
    assert_non_null(text);
    snprintf(command, sizeof command, "cat '%s/ovf/%s' 2>/dev/null || xz -dc '%s/ovf/%s.xz'", dir, file, dir,
             file);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    *ret_n = fread(text, 1, size, pipe);
    assert_int_equal(pclose(pipe), 0);
    return text;
}

static void describe(const struct ovf *o, char *buf, size_t size)
{
    buf[0] = 0;
    for (size_t i = 0; i < o->n_drives; i++) {
        const struct ovf_drive *d = &o->drives[i];
        char place[32] = "-";
        if (d->controller)
            snprintf(place, sizeof place, "%s%d:%d", d->controller, d->bus, d->unit);
        snprintf(buf + strlen(buf), size - strlen(buf), "%s%s=%s%s", i ? " " : "", place,
                 d->missing ? "?" : "",
                 d->missing ? strchr(d->missing, ' ') + 1
                 : d->file  ? d->file->href
                            : "blank");
    }
}

static void drives_of_the_corpus(void **state)
{
    (void)state;
    const char *dir = getenv("FERRYFS_CORPUS");
    if (!dir) {
        print_message("FERRYFS_CORPUS is not set\n");
        skip();
    }
    unsigned wrong = 0;
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        char seen[4096];
        size_t n;
        char *text = read_corpus(dir, wanted[i].file, &n);
        struct ovf *o = NULL;
        struct fault fault = { 0 };
        if (ovf_parse(text, n, wanted[i].file, &o, &fault) < 0)
            fail_msg("%s: %s", wanted[i].file, fault.what);
        describe(o, seen, sizeof seen);
        if (strcmp(seen, wanted[i].drives) != 0) {
            print_message("%s:\n  %s, wanted\n  %s\n", wanted[i].file, seen, wanted[i].drives);
            wrong++;
        }
        ovf_free(o);
        free(text);
    }
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drives_of_the_corpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
