"""Parts of the phantom: invented patients, their images and their reports.

case      invents patients and their studies
canvas    draws soft shapes with the same bytes everywhere
frontal   the frontal anatomy, and masks and boxes of findings
film      draws the frontal image
lateral   draws the lateral image
report    writes the report
"""
