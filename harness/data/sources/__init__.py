"""One module per dataset, and what several of them share (names that start with _).

openi               Open-I, the Indiana University collection
mimic_cxr           MIMIC-CXR and MIMIC-CXR-JPG
chexpert_plus       CheXpert Plus
padchest            PadChest
padchest_gr         PadChest-GR: findings with boxes
ms_cxr              MS-CXR: phrases with boxes
rexgradient         ReXGradient-160K
phantom             a drawn dataset with known findings, always available
folder              a user's own folder of images and reports
rexrank_json        the exchange file of ReXrank
r2gen_json          the annotation file of R2Gen and its successors
report_sections     finds the sections of a MIMIC-CXR report
_mimic              parts of mimic_cxr
_phantom            parts of phantom
_examples           studies of the exchange files
_exchange           reads exchange files
_image_lookup       finds image files below a data root
_padchest_labels    labels of PadChest
_tables             reads CSV files of a dataset
_zip_parts          reads a zip file that was split into parts
"""
