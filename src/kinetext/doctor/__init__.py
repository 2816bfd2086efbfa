"""What is wrong with the installation and with a results folder, and what to do: `kinetext doctor`. It changes nothing."""
