"""`quietframe results`: one page of figures and pictures from the folders of finished trainings."""
